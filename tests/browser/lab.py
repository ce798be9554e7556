"""A real JupyterLab, on this machine only, and what is asked of a page in it."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page

from co3course.runner import kernel_environment

START, RUN = 120, 600  # seconds; far above what is needed, as the machine may be busy
ROOT = Path(__file__).parents[2]
# All cells stay in the page, seen or not, and nothing is asked of anybody.
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# A cell that stopped, a widget that was not made, and a figure that could not be drawn.
BROKEN = (
    '[data-mime-type="application/vnd.jupyter.error"]',
    '[data-mime-type="application/vnd.jupyter.stderr"]',
    "text=/Error (displaying|creating) widget/",
    ".co3-error",
)
# A notebook is there and its kernel waits for work: cells that are run before that are passed over without a word.
IDLE = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
CONTROLS = ".noUi-handle, select"


def copy_suite(folder: Path) -> None:
    """The notebooks as a copy, which may be run and saved; links to everything else that they link to."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name in ("README.md", "co3lib", "data", "docs"):
        (folder / name).symlink_to(ROOT / name)


@contextmanager
def jupyterlab(folder: Path, own: Path, ipython: Path) -> Iterator[str]:
    """Serve ``folder``; yields the address of the application, its token included. ``own``: where
    Jupyter may write, so that no settings of the user play a part; ipython: the kernels' ``IPYTHONDIR``."""
    for name, values in SETTINGS.items():
        file = own / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    token = secrets.token_hex(16)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": "0",
        "ServerApp.root_dir": str(folder),
        "ServerApp.allow_root": "True",
        "ServerApp.open_browser": "False",
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": "True",
        "LabApp.user_settings_dir": str(own / "settings"),
        "LabApp.workspaces_dir": str(own / "workspaces"),
    }
    folders = {name: str(own / name.lower()) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")} | {
        "IPYTHONDIR": str(ipython)
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    log = own / "log.txt"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=kernel_environment() | folders
        )
        try:
            yield f"{_address(server, own / 'jupyter_runtime_dir', log)}lab?reset&token={token}"
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def _address(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    until = time.monotonic() + START
    while server.poll() is None and time.monotonic() < until:
        for file in runtime.glob(f"jpserver-{server.pid}.json"):
            try:
                return json.loads(file.read_text())["url"]
            except json.JSONDecodeError:
                pass  # it is being written
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def open_lab(page: Page, address: str) -> None:
    """Open the application and wait until it has started."""
    page.set_default_timeout(START * 1000)
    page.goto(address)
    page.wait_for_function("window.jupyterapp")
    page.evaluate("async () => { await jupyterapp.restored; }")


def close_all(page: Page) -> None:
    """Close all that is open in the application, unsaved. The kernel runs on for the next notebook."""
    page.evaluate("() => { for (const widget of [...jupyterapp.shell.widgets('main')]) widget.dispose(); }")


# Most of what a notebook takes is the start of its kernel, so there is one for all; each runs without the names of others
# in tests/notebooks.
OPEN = """async path => {
  await jupyterapp.serviceManager.kernels.refreshRunning();
  const [running] = jupyterapp.serviceManager.kernels.running();
  await jupyterapp.commands.execute('docmanager:open', { path, kernel: running && { id: running.id } });
}"""


def run_all(page: Page, path: str) -> None:
    """Open a notebook, run all of its cells, and wait until that is done."""
    page.set_default_timeout(START * 1000)
    page.evaluate(OPEN, path)
    page.wait_for_function(IDLE)
    page.evaluate("() => { window.co3done = jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.set_default_timeout(RUN * 1000)
    page.evaluate("async () => { await window.co3done; }")
    page.wait_for_function(IDLE)
    page.set_default_timeout(START * 1000)


def cells_run(page: Page) -> tuple[int, int]:
    """How many code cells have been run, and how many there are."""
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    return sum(bool(re.fullmatch(r"\[\d+\]:", prompt.strip())) for prompt in prompts), len(prompts)


def complaints(page: Page) -> list[str]:
    """What is wrong on the page, in its own words."""
    return [text.strip()[-400:] for where in BROKEN for text in page.locator(where).all_inner_texts()]


def widgets(page: Page) -> list[Locator]:
    """The widgets with a control and a picture."""
    return page.locator(".jp-OutputArea-output .widget-vbox").filter(has=page.locator(CONTROLS)).all()


def cut_labels(page: Page) -> list[str]:
    """The labels of controls that are longer than their place, of which a reader sees the beginning only."""
    return page.locator(".widget-label").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
    )


def move(control: Locator) -> None:
    """Move a slider or a menu by one step with the arrow keys: on, or back where it is at its end."""
    control.focus()
    if control.evaluate("one => one.tagName") == "SELECT":
        last = control.evaluate("one => one.selectedIndex === one.options.length - 1")
        control.press("ArrowUp" if last else "ArrowDown")
    else:
        last = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
        control.press("ArrowLeft" if last else "ArrowRight")


def spoken_name(control: Locator) -> str:
    """What a screen reader calls the control: the name that the browser itself works out."""
    session = control.page.context.new_cdp_session(control.page)
    try:
        control.evaluate("one => { window.co3control = one; }")
        handle = session.send("Runtime.evaluate", {"expression": "window.co3control"})["result"]["objectId"]
        nodes = session.send("Accessibility.getPartialAXTree", {"objectId": handle, "fetchRelatives": False})["nodes"]
        return nodes[0].get("name", {}).get("value", "").strip()
    finally:
        session.detach()
