"""One JupyterLab and one Chromium for all tests of a worker. Without Chromium the tests are skipped, unless
CO3_REQUIRE_BROWSER=1 says that they must run."""

import os
import shutil
from pathlib import Path

import pytest
from lab import ROOT, close_all, copy_suite, jupyterlab, open_lab
from playwright.sync_api import Page, sync_playwright

SCREENSHOTS = ROOT / "results" / "browser"


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        word = "no Chromium here to open the notebooks in: install one, as with `apt-get install chromium`"
        if os.environ.get("CO3_REQUIRE_BROWSER") == "1":
            pytest.fail(word)
        pytest.skip(word)
    with sync_playwright() as playwright:
        # Chromium refuses its own sandbox to root and in most containers; all that it opens here is our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--no-proxy-server"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def suite(chromium, tmp_path_factory) -> Path:
    """The folder that JupyterLab serves. It waits for ``chromium``, as without one nothing need be copied."""
    folder = tmp_path_factory.mktemp("suite")
    copy_suite(folder)
    return folder


@pytest.fixture(scope="session")
def lab(suite, tmp_path_factory, ipython):
    with jupyterlab(suite, tmp_path_factory.mktemp("jupyter"), ipython) as address:
        yield address


@pytest.fixture(scope="session")
def application(chromium, lab) -> Page:
    """A page with JupyterLab, opened once: that takes longer than most of what is done in it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1400})
    page = context.new_page()
    open_lab(page, lab)
    yield page
    context.close()


@pytest.fixture
def page(application) -> Page:
    yield application
    close_all(application)


@pytest.fixture
def screenshot(page, request):
    """A picture of the page as the test leaves it, whatever came of it."""
    yield
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in request.node.name)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
