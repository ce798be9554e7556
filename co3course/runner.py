"""Running notebooks headless:

    python -m co3course.runner notebooks/00_quickstart.ipynb --output results/quickstart -p profile smoke

``run_notebook`` believes only an exit code of 0 together with a valid ``metrics.json`` and no error output anywhere.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from co3lib.files import make_folder, part_of, path_of, print_anything, write_text

from .headless import spare_grammar
from .metrics import RESULT, Result
from .session import earlier_files, refuse_foreign, remove_files

PAGE = '<meta name="generator" content="co3course.runner">'
"""What marks a page as one that ``run_notebook`` made."""
PICTURE = "picture.png"
"""Of the files that a notebook leaves, the picture to look at first."""
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}
_STARTUP_FAILURE = "Kernel died before replying"
_NO_FIGURE = 'class="co3-error"'  # what co3course.widgets shows in place of a figure that could not be drawn
_ATTEMPTS = 2  # a kernel that dies while it starts is a matter of chance; one that dies later is not
_GRACE = 10  # seconds in which a notebook that has run for too long must have ended by itself


class NotebookError(RuntimeError):
    """A notebook did not run to its end, or left no valid result."""


def check_parameters(path: Path, parameters: Mapping[str, object]) -> dict[str, object]:
    """``parameters`` in the types that the notebook's parameters cell declares; ``ValueError`` for one that
    it does not declare or whose value does not fit. Values may come as text, as from a command line."""
    import papermill

    if not path.is_file():
        raise ValueError(f"{path} is not a notebook: there is no such file")
    try:
        declared = papermill.inspect_notebook(_literal(path))
    except Exception as error:  # nbformat's, papermill's and the JSON reader's own
        raise ValueError(f"{path} is not a notebook that can be read: {' '.join(str(error).split())[:200]}") from error
    checked = {}
    for name, value in parameters.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise ValueError(f"{path.name} has no parameter {name!r}; it has: {known}")
        kind = declared[name]["inferred_type_name"]
        if kind not in _TYPES:
            raise ValueError(f"parameter {name} of {path.name} must be declared as {', '.join(_TYPES)}, it is as {kind}")
        try:
            checked[name] = TypeAdapter(_TYPES[kind]).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"parameter {name} of {path.name} must be of type {kind}, got {value!r}") from error
    return checked


def run_notebook(
    path: str | Path,
    output: str | Path,
    parameters: Mapping[str, object] | None = None,
    timeout: float | None = None,
) -> Result:
    """Run a notebook headless, in a process of its own, and return its validated result.

    Leaves in the folder ``output`` the executed notebook, the same as HTML, and what the notebook itself
    writes there; what an earlier run left is removed first, and nothing else. parameters: for the notebook's parameters
    cell; ``output`` is added to them. The notebook and its kernel end with this process, however that ends. Raises
    ``ValueError`` before anything runs for parameters that the notebook does not have, an output folder in which the
    notebook itself lies or to which nothing can be written, and files in the way there that no run has written;
    ``NotebookError`` if a cell fails, an error hides in a widget, ``metrics.json`` is missing or invalid, or
    ``timeout`` (seconds) is over.
    """
    path, output = path_of(path, "notebook"), path_of(output, "output")
    if "output" in (parameters or {}):
        raise ValueError(f"output must be given once, got {output} and the parameter {parameters['output']!r}")
    parameters = check_parameters(path, {**(parameters or {}), "output": str(output.resolve())})
    if output.is_dir() and any(output.samefile(folder) for folder in (path.absolute().parent, path.resolve().parent)):
        raise ValueError(f"output must be another folder than the notebook's own, got {output}, in which {path.name} lies")
    make_folder(output, "output")
    executed = output / path.name
    page = executed.with_suffix(".html")
    _refuse_unless_ours(executed, page)
    remove_files(output, [*earlier_files(output, parameters.get("photos", "")), executed.name, page.name])
    _execute(path, executed, parameters, timeout)
    for where, what in errors(_read_notebook(executed) or {}):
        raise NotebookError(f"{path} ended, but there is an error in {where}: {what}; see {executed}")
    result = read_result(output)
    write_text(page, to_html(executed))
    return result


def _refuse_unless_ours(executed: Path, page: Path) -> None:
    book = _read_notebook(executed)
    if "output_path" not in (book or {}).get("metadata", {}).get("papermill", {}):
        refuse_foreign(executed)
        if not (page.is_file() and PAGE in page.read_text(encoding="utf-8", errors="replace")):
            refuse_foreign(page)


def _read_notebook(file: Path) -> dict | None:
    """A notebook's content, None if there is no whole one."""
    try:
        book = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return book if isinstance(book, dict) and "cells" in book else None


def read_result(output: Path) -> Result:
    """The ``metrics.json`` in a folder; ``NotebookError`` if it is missing or invalid, or a file it names is
    missing."""
    file = output / RESULT
    try:
        result = Result.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise NotebookError(f"the notebook ended without writing {file}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise NotebookError(f"{file} is not a valid result: {where}: {first['msg']}") from error
    for name in result.files:
        if not (output / name).is_file():
            raise NotebookError(f"{file} names {name}, which is not there")
    return result


def errors(notebook: Mapping) -> Iterator[tuple[str, str]]:
    """(where, what) of every error output of an executed notebook, those in widgets' saved state included."""
    for number, cell in enumerate(notebook.get("cells", []), start=1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield f"cell {number}", _spell(output)
    for state in _states(notebook.get("metadata", {}).get("widgets", {})):
        if state.get("output_type") == "error":
            yield "a widget", _spell(state)
        if _NO_FIGURE in str(state.get("value", "")):
            yield "a widget", re.sub("<[^>]*>", "", html.unescape(state["value"]))


def to_html(executed: Path) -> str:
    """An executed notebook as one HTML page that needs nothing but itself, marked as one of ours."""
    from . import page

    return page.to_html(executed).replace("<head>", f"<head>{PAGE}", 1)


def _execute(path: Path, executed: Path, parameters: Mapping[str, object], timeout: float | None) -> None:
    # papermill writes its output again and again: aside, for what it leaves when stopped or on a full disk may be torn.
    part = part_of(executed)
    command = [sys.executable, "-m", "co3course.headless", _literal(path), _literal(part), "--kernel", "python3"]
    # YAML with escapes, for JSON's numbers like 1e-05 are text to it, and its pairs of surrogates no characters.
    command += ["--no-progress-bar", "--parameters_yaml", yaml.safe_dump(dict(parameters), width=sys.maxsize)]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            failure = _run(command, timeout)
        except TimeoutError as error:
            raise NotebookError(f"{path} did not end within {timeout:g} s") from error
        finally:
            book = _read_notebook(part)
            part.unlink(missing_ok=True)
            if book is not None:
                book.setdefault("metadata", {}).setdefault("papermill", {})["output_path"] = str(executed)
                write_text(executed, json.dumps(book, ensure_ascii=False, indent=1) + "\n")
        if failure is None:
            return
        found = next(errors(book or {}), None)
        if _STARTUP_FAILURE not in failure or attempt == _ATTEMPTS:
            last = (failure.strip().splitlines() or ["no message"])[-1]
            raise NotebookError(f"{path} failed: {f'{found[0]}: {found[1]}; see {executed}' if found else last}")


def _run(command: Sequence[str], timeout: float | None) -> str | None:
    """Run ``co3course.headless``: None, or what it said to its end if it failed. ``TimeoutError`` after ``timeout`` seconds.
    It ends, with the notebook's kernel, as soon as the other end of its standard input is closed: by hand, or because this
    process has ended."""
    watched, held = os.pipe()
    late = threading.Event()

    def end() -> None:
        late.set()
        os.close(held)

    timer = threading.Timer(timeout, end) if timeout is not None else None
    try:
        if timer:
            timer.start()
        done = subprocess.run(
            command,
            stdin=watched,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**kernel_environment(), "PYTHONIOENCODING": "utf-8"},
            timeout=None if timeout is None else timeout + _GRACE,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    finally:
        if timer:
            timer.cancel()
            timer.join()
        if not late.is_set():
            os.close(held)
        os.close(watched)
    if late.is_set() and done.returncode:
        raise TimeoutError
    return None if done.returncode == 0 else done.stderr


def _literal(path: Path) -> str:
    """A path as papermill takes it: whole, for it takes "-" and "s3:" for something else; braces doubled, as it fills in
    what is between them."""
    return str(path.absolute()).replace("{", "{{").replace("}", "}}")


def kernel_environment() -> dict[str, str]:
    """This process's environment, in which Jupyter's kernel python3 is this interpreter's own: one that the user
    installed elsewhere under the same name would come first otherwise."""
    own = str(Path(sys.prefix) / "share" / "jupyter")
    paths = [own, *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return {**os.environ, "JUPYTER_PATH": os.pathsep.join(paths), "JUPYTER_PREFER_ENV_PATH": "1"}


def _states(value) -> Iterator[Mapping]:
    """All mappings inside a value, itself included."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _states(item)


def _spell(output: Mapping) -> str:
    lines = str(output.get("evalue", "")).strip().splitlines()
    return f"{output.get('ename', 'error')}: {' '.join(line.strip() for line in lines)}"


def _report(result: Result, executed: Path) -> str:
    output = executed.parent
    overlays = [name for name in result.files if name.endswith(".png") and name != PICTURE]
    lines = [("executed notebook", executed), ("the same as HTML", executed.with_suffix(".html"))]
    lines += [("COCO JSON", output / name) for name in result.files if name.endswith(".json")]
    lines += [(f"{len(overlays)} overlays (PNG)", (output / overlays[0]).parent)] if overlays else []
    lines += [("metrics", output / RESULT)]
    text = [f"{output / PICTURE}: {_seen(result)}"] if PICTURE in result.files and "shown" in result.numbers else []
    text += [f"{what:20} {where}" for what, where in lines]
    kind = "bundled data, which say little of other photos" if result.synthetic else "these photos"
    if not result.classes:
        text += [f"{result.seconds:.0f} s; measured on {kind}:"]
        return "\n".join(text + [f"  {name} {value:.4g}" for name, value in result.numbers.items()])
    photos = sum(of_class.photos for of_class in result.classes.values())
    found = sum(of_class.found for of_class in result.classes.values())
    text += [f"{found} instances in all, weak ones included, in {photos} photos of {', '.join(result.classes)}"]
    text += [f"{result.seconds:.0f} s"]
    values = {iou: value for iou, value in result.mean_average_precision.items() if value is not None}
    means = "; ".join(f"{value:.3f} at IoU {iou}" for iou, value in values.items())
    text += [f"mAP of all on {kind}: {means}" if means else "mAP: none, as there are no masks to compare with"]
    return "\n".join(text)


def _seen(result: Result) -> str:
    """What is on the picture, in a sentence: ``42 instances of coins and cat shown in 10 photos, 39 right, 8 missed``."""
    photos = sum(of_class.photos for of_class in result.classes.values())
    said = f"{_count(result.numbers['shown'], 'instance')} of {' and '.join(result.classes)} shown in {_count(photos, 'photo')}"
    return ", ".join([said, *(f"{result.numbers[name]:.0f} {name}" for name in ("right", "missed") if name in result.numbers)])


def _count(number: float, what: str) -> str:
    return f"{number:.0f} {what}{'' if number == 1 else 's'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m co3course.runner", description="Run a notebook headless.")
    parser.add_argument("notebook")
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter",
    )
    options = parser.parse_args(arguments)
    print_anything()
    spare_grammar()
    print(f"Running {options.notebook} ...", flush=True)
    try:
        result = run_notebook(options.notebook, options.output, dict(options.parameters))
    except (ValueError, NotebookError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(_report(result, path_of(options.output, "output") / Path(options.notebook).name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
