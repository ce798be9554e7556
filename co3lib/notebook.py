"""Running notebooks, and what every notebook starts and ends with.

Inside a notebook: ``run = set_up(Parameters(...))`` validates the parameters, seeds everything and makes the
output folder; ``write_result(run, ...)`` leaves ``metrics.json``. Outside: ``run_notebook`` runs one
headless,

    python -m co3lib.notebook notebooks/00_quickstart.ipynb --output results/quickstart -p profile smoke

and believes only an exit code of 0 together with a valid ``metrics.json`` and no error output anywhere.
"""

from __future__ import annotations

import argparse
import html
import importlib.metadata
import json
import os
import platform
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from .config import CoSegConfig
from .files import make_folder, part_of, path_of, print_anything, remove_parts, write_text

if TYPE_CHECKING:  # torch takes seconds to import, which running a notebook need not wait for
    import pandas as pd

    from .datasets import Sample
    from .export import PhotoResult
    from .ranking import Instance

RESULT = "metrics.json"
_UNFINISHED = ".unfinished.json"  # in an output folder until there are metrics: the files that are, or may be, there already
PAGE = '<meta name="generator" content="co3lib.notebook">'
"""What marks a page as one that ``run_notebook`` made."""
VERSIONS = ("co3lib", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-image", "higra")
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}
_STARTUP_FAILURE = "Kernel died before replying"
_SMOKE_PHOTOS = 6
_NO_FIGURE = 'class="co3-error"'  # what co3lib.widgets shows in place of a figure that could not be drawn
_ATTEMPTS = 2  # a kernel that dies while it starts is a matter of chance; one that dies later is not
_GRACE = 10  # seconds in which a notebook that has run for too long must have ended by itself


class NotebookError(RuntimeError):
    """A notebook did not run to its end, or left no valid result."""


# ------------------------------------------------------------------------------------------- in the notebook


class Parameters(BaseModel):
    """The parameters that every notebook has. profile: "smoke" ends within a minute on two cores, "full" is
    the real thing; output: the folder for the results; seed: of every random number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    profile: Literal["smoke", "full"] = "smoke"
    output: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("output")
    @classmethod
    def _is_path(cls, output: str) -> str:
        path_of(output, "output")
        return output


class PhotoParameters(Parameters):
    """Those of a notebook that can also be shown a folder of one's own photos; empty for the bundled ones."""

    photos: str = ""

    @field_validator("photos")
    @classmethod
    def _is_folder(cls, photos: str) -> str:
        if photos and not path_of(photos, "photos").is_dir():
            raise ValueError(
                f"photos must be a folder with photos of one kind of thing, got {photos!r}, which is not one"
            )
        return photos


@dataclass(frozen=True)
class Run:
    """A notebook's run: its parameters, the folder for its results, when it began (``time.perf_counter``), what earlier runs
    left in the folder, and the names of its own files so far."""

    parameters: Parameters
    output: Path
    started: float
    earlier: Sequence[str] = ()
    names: list[str] = field(default_factory=list)

    def file(self, name: str) -> Path:
        """Where the result file ``name`` ("overlays/a.png") is to be written. It is noted first, so that a later run into
        the same folder finds what this one leaves, even if this one is stopped. ``ValueError`` if a file that no run has
        written is in the way."""
        path = self.output / _inside(name)
        if name not in self.names:
            if name not in self.earlier:
                _refuse_foreign(path)
            self.names.append(name)
            write_text(self.output / _UNFINISHED, json.dumps([*self.earlier, *self.names]))
        return path


def set_up(parameters: Parameters) -> Run:
    """Seed Python's, NumPy's and torch's random numbers and make the output folder. ``ValueError`` if nothing can be written
    to it, or a ``metrics.json`` lies there that no run has written."""
    started = time.perf_counter()
    # Read when torch is first imported: threads that wait should not keep busy a core that another program
    # needs. On two cores shared with other programs this is several times faster, and never slower by much.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import numpy as np
    import torch

    random.seed(parameters.seed)
    np.random.seed(parameters.seed % 2**32)  # noqa: NPY002  (libraries still draw from the global state)
    torch.manual_seed(parameters.seed)
    output = make_folder(parameters.output, "output")
    return Run(parameters, output, started, _earlier(output, getattr(parameters, "photos", "")))


def load_classes(parameters: PhotoParameters, smoke_class: str) -> dict[str, list[Sample]]:
    """The photos that the parameters ask for, class -> samples.

    One's own: all photos of the folder as one class of its name, without masks. Otherwise the bundled
    collages: six photos of ``smoke_class`` in the profile "smoke", everything in "full". ``ValueError`` if a
    folder holds fewer than two photos.
    """
    from .datasets import Sample, demo_set, list_photos

    if not parameters.photos:
        classes = demo_set("collage")
        return (
            {smoke_class: classes[smoke_class][:_SMOKE_PHOTOS]} if parameters.profile == "smoke" else classes
        )
    folder = Path(parameters.photos).expanduser().resolve()
    paths = list_photos(folder)
    if len(paths) < 2:
        raise ValueError(f"photos must be a folder with at least two photos, got {folder} with {len(paths)}")
    return {folder.name: [Sample(path.name, folder.name, path, mask_paths=()) for path in paths]}


def _inside(file: str) -> str:
    path = PurePath(file)
    if path.anchor or ".." in path.parts or not path.parts:
        raise ValueError(f"must be a path inside the output folder, got {file!r}")
    return file


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Precisions = dict[Literal["0.25", "0.5", "0.75"], Share | None]


class ClassResult(BaseModel):
    """One class: how many photos, ground-truth instances and found ones; AP^r by IoU, None without ground
    truth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Count
    instances: Count
    found: Count
    average_precision: Precisions


class Result(BaseModel):
    """What a notebook leaves in ``metrics.json``: enough to say what was run, on what, and what came of it.

    data: the photos in words; synthetic: whether they are made up, so that the numbers say nothing of real
    photos; numbers: what the notebook measured, by name; classes: what came of each class, where whole classes
    were segmented, and then with the config and the weights; files: everything else that the notebook wrote,
    relative to the output folder. There must be at least one class or one number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Literal["smoke", "full"]
    data: str
    synthetic: bool
    seed: Count
    seconds: Annotated[float, Field(ge=0)]
    versions: dict[str, str]
    numbers: dict[str, FiniteFloat] = {}
    config: CoSegConfig | None = None
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    classes: dict[str, ClassResult] = {}
    mean_average_precision: Precisions = {}
    files: list[Annotated[str, AfterValidator(_inside)]]

    @model_validator(mode="after")
    def _says_something(self) -> Result:
        if not self.numbers and not self.classes:
            raise ValueError("a result must hold at least one class or one number, got none")
        if self.classes and (self.config is None or self.weights_sha256 is None):
            raise ValueError("a result with classes must say with which config and weights_sha256 they came about")
        return self


def photo_results(samples: Sequence[Sample], found: Sequence[Sequence[Instance]]) -> list[PhotoResult]:
    """Samples and the instances found in each, as ``class_result`` and ``export.write_coco`` take them. Of a
    sample without mask files the truth is not known."""
    from .export import PhotoResult

    return [
        PhotoResult(
            name=sample.image_path.name,
            category=sample.category,
            size=sample.image.shape[:2],
            instances=instances,
            truth=sample.masks if sample.mask_paths else None,
        )
        for sample, instances in zip(samples, found, strict=True)
    ]


def class_result(photos: Sequence[PhotoResult]) -> ClassResult:
    """What came of the photos of one class; without AP where the truth of any of them is not known."""
    from .evaluation import THRESHOLDS, pooled_average_precision

    numbers = {"photos": len(photos), "found": sum(len(photo.instances) for photo in photos)}
    if any(photo.truth is None for photo in photos):
        nothing = {f"{iou:g}": None for iou in THRESHOLDS}
        return ClassResult(**numbers, instances=0, average_precision=nothing)
    ious, scores = [photo.ious() for photo in photos], [photo.scores for photo in photos]
    precisions = {f"{iou:g}": pooled_average_precision(ious, scores, iou) for iou in THRESHOLDS}
    return ClassResult(**numbers, instances=sum(one.shape[1] for one in ious), average_precision=precisions)


def mean_precisions(classes: Mapping[str, ClassResult]) -> dict[str, float | None]:
    """mAP^r by IoU over the classes that have ground truth; None if none has."""
    ious = next(iter(classes.values())).average_precision
    columns = {iou: [one.average_precision[iou] for one in classes.values()] for iou in ious}
    known = {iou: [value for value in column if value is not None] for iou, column in columns.items()}
    return {iou: sum(values) / len(values) if values else None for iou, values in known.items()}


def precision_table(classes: Mapping[str, ClassResult]) -> pd.DataFrame:
    """Class results as a table for reading, one row a class."""
    import pandas as pd

    rows = {
        name: {"photos": one.photos, "instances": one.instances, "found": one.found}
        | {f"AP at IoU {iou}": value for iou, value in one.average_precision.items()}
        for name, one in classes.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def write_result(
    run: Run,
    *,
    data: str,
    synthetic: bool,
    numbers: Mapping[str, float] | None = None,
    config: CoSegConfig | None = None,
    weights_sha256: str | None = None,
    classes: Mapping[str, ClassResult] | None = None,
    files: Sequence[Path] = (),
) -> Result:
    """Write ``metrics.json``, see ``Result``; profile, seed, seconds and versions are added. files: paths as
    written, of ``Run.file`` or others. What an earlier run left beside them is removed."""
    result = Result(
        profile=run.parameters.profile,
        data=data,
        synthetic=synthetic,
        seed=run.parameters.seed,
        seconds=round(time.perf_counter() - run.started, 2),
        versions=versions(),
        numbers={name: float(value) for name, value in (numbers or {}).items()},
        config=config,
        weights_sha256=weights_sha256,
        classes=dict(classes or {}),
        mean_average_precision=mean_precisions(classes) if classes else {},
        files=sorted({*(Path(file).relative_to(run.output).as_posix() for file in files), *run.names}),
    )
    _remove(run.output, set(run.earlier) - {*result.files, RESULT})
    write_text(run.output / RESULT, result.model_dump_json(indent=2) + "\n")
    (run.output / _UNFINISHED).unlink(missing_ok=True)
    return result


class _Earlier(BaseModel):
    """What any version's ``metrics.json`` holds, as far as it says what was written."""

    profile: str
    versions: dict[str, str]
    files: list[Annotated[str, AfterValidator(_inside)]]


def _earlier(output: Path, photos: str = "") -> list[str]:
    """The files in a folder that its metrics and an unfinished run say are theirs, relative to it; ``ValueError`` if the
    metrics are something else, or if some of those files are the photos to be read now."""
    names, result = [], output / RESULT
    if os.path.lexists(result):
        try:
            names += [*_Earlier.model_validate_json(result.read_bytes()).files, RESULT]
        except (OSError, ValidationError):
            _refuse_foreign(result)
    try:
        names += TypeAdapter(list[Annotated[str, AfterValidator(_inside)]]).validate_json((output / _UNFINISHED).read_bytes())
        names.append(_UNFINISHED)
    except (OSError, ValidationError):
        pass
    read = path_of(photos, "photos").resolve() if photos else None
    if any((output / name).resolve().parent == read for name in names if name not in (RESULT, _UNFINISHED)):
        raise ValueError(f"photos must be no folder that an earlier run wrote into {output} and this one removes, got {photos}")
    return names


def _remove(output: Path, names: Iterable[str]) -> None:
    # And what a killed process left half done beside them.
    for file in [output / name for name in names]:
        if file.is_file() or file.is_symlink():
            file.unlink()
        if file.parent.is_dir():
            remove_parts(file.parent)
    remove_parts(output)


def _refuse_foreign(path: Path) -> None:
    if os.path.lexists(path):
        raise ValueError(f"{path} is in the way: no earlier run is known to have written it; move it or name another output")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in VERSIONS
    }


# --------------------------------------------------------------------------------------- around the notebook


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
            raise ValueError(
                f"parameter {name} of {path.name} must be of type {kind}, got {value!r}"
            ) from error
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
    _remove(output, [*_earlier(output, parameters.get("photos", "")), executed.name, page.name])
    _execute(path, executed, parameters, timeout)
    for where, what in errors(_read_notebook(executed) or {}):
        raise NotebookError(f"{path} ended, but there is an error in {where}: {what}; see {executed}")
    result = read_result(output)
    write_text(page, to_html(executed))
    return result


def _refuse_unless_ours(executed: Path, page: Path) -> None:
    book = _read_notebook(executed)
    if "output_path" not in (book or {}).get("metadata", {}).get("papermill", {}):
        _refuse_foreign(executed)
        if not (page.is_file() and PAGE in page.read_text(encoding="utf-8", errors="replace")):
            _refuse_foreign(page)


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
    """An executed notebook as one self-contained HTML page."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter()
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    return exporter.from_filename(str(executed))[0].replace("<head>", f"<head>{PAGE}", 1)


def _execute(path: Path, executed: Path, parameters: Mapping[str, object], timeout: float | None) -> None:
    # papermill writes its output again and again: aside, for what it leaves when stopped or on a full disk may be torn.
    part = part_of(executed)
    command = [sys.executable, "-m", "co3lib.headless", _literal(path), _literal(part), "--kernel", "python3"]
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
    """Run ``co3lib.headless``: None, or what it said to its end if it failed. ``TimeoutError`` after ``timeout`` seconds.
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
    overlays = [name for name in result.files if name.endswith(".png")]
    lines = [("executed notebook", executed), ("the same as HTML", executed.with_suffix(".html"))]
    lines += [("COCO JSON", output / name) for name in result.files if name.endswith(".json")]
    lines += [(f"{len(overlays)} overlays (PNG)", (output / overlays[0]).parent)] if overlays else []
    lines += [("metrics", output / RESULT)]
    text = [f"{what:20} {where}" for what, where in lines]
    kind = "synthetic data" if result.synthetic else "these photos"
    if not result.classes:
        text += [f"{result.seconds:.0f} s; measured on {kind}:"]
        return "\n".join(text + [f"  {name} {value:.4g}" for name, value in result.numbers.items()])
    photos = sum(one.photos for one in result.classes.values())
    found = sum(one.found for one in result.classes.values())
    text += [f"{found} instances in {photos} photos of {', '.join(result.classes)}, {result.seconds:.0f} s"]
    values = {iou: value for iou, value in result.mean_average_precision.items() if value is not None}
    means = "; ".join(f"{value:.3f} at IoU {iou}" for iou, value in values.items())
    text += [f"mAP on {kind}: {means}" if means else "mAP: none, as there are no masks to compare with"]
    return "\n".join(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m co3lib.notebook", description="Run a notebook headless.")
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
