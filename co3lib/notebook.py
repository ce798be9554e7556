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
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

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

if TYPE_CHECKING:  # torch takes seconds to import, which running a notebook need not wait for
    import pandas as pd

    from .datasets import Sample
    from .export import PhotoResult
    from .ranking import Instance

RESULT = "metrics.json"
VERSIONS = ("co3lib", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-image", "higra")
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}
_STARTUP_FAILURE = "Kernel died before replying"
_SMOKE_PHOTOS = 6
_NO_FIGURE = 'class="co3-error"'  # what co3lib.widgets shows in place of a figure that could not be drawn
_ATTEMPTS = 2  # a kernel that dies while it starts is a matter of chance; one that dies later is not


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


class PhotoParameters(Parameters):
    """Those of a notebook that can also be shown a folder of one's own photos; empty for the bundled ones."""

    photos: str = ""

    @field_validator("photos")
    @classmethod
    def _is_folder(cls, photos: str) -> str:
        if photos and not Path(photos).expanduser().is_dir():
            raise ValueError(
                f"photos must be a folder with photos of one kind of thing, got {photos!r}, which is not one"
            )
        return photos


@dataclass(frozen=True)
class Run:
    """A notebook's run: its parameters, the folder for its results, when it began (``time.perf_counter``)."""

    parameters: Parameters
    output: Path
    started: float


def set_up(parameters: Parameters) -> Run:
    """Seed Python's, NumPy's and torch's random numbers and make the output folder."""
    started = time.perf_counter()
    # Read when torch is first imported: threads that wait should not keep busy a core that another program
    # needs. On two cores shared with other programs this is several times faster, and never slower by much.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import numpy as np
    import torch

    random.seed(parameters.seed)
    np.random.seed(parameters.seed % 2**32)  # noqa: NPY002  (libraries still draw from the global state)
    torch.manual_seed(parameters.seed)
    output = Path(parameters.output)
    output.mkdir(parents=True, exist_ok=True)
    return Run(parameters, output, started)


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
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\\" in file:
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
    import numpy as np
    import torch

    from .evaluation import THRESHOLDS, average_precision

    numbers = {"photos": len(photos), "found": sum(len(photo.instances) for photo in photos)}
    if any(photo.truth is None for photo in photos):
        nothing = {f"{iou:g}": None for iou in THRESHOLDS}
        return ClassResult(**numbers, instances=0, average_precision=nothing)
    truth = [photo.truth for photo in photos]
    masks = [
        np.stack([one.mask for one in photo.instances]) if photo.instances else photo.truth[:0]
        for photo in photos
    ]
    scores = [torch.tensor([one.score for one in photo.instances], dtype=torch.float64) for photo in photos]
    precisions = {f"{iou:g}": average_precision(masks, scores, truth, iou) for iou in THRESHOLDS}
    return ClassResult(**numbers, instances=sum(map(len, truth)), average_precision=precisions)


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
    written."""
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
        files=sorted(Path(file).relative_to(run.output).as_posix() for file in files),
    )
    _write(run.output / RESULT, result.model_dump_json(indent=2) + "\n")
    return result


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
    declared = papermill.inspect_notebook(str(path))
    checked = {}
    for name, value in parameters.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise ValueError(f"{path.name} has no parameter {name!r}; it has: {known}")
        kind = declared[name]["inferred_type_name"]
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
    writes there; what an earlier run left is removed first. parameters: for the notebook's parameters cell;
    ``output`` is added to them. Raises ``ValueError`` for parameters that the notebook does not have, before
    anything runs, and ``NotebookError`` if a cell fails, an error hides in a widget, ``metrics.json`` is
    missing or invalid, or ``timeout`` (seconds) is over.
    """
    path, output = Path(path), Path(output)
    parameters = check_parameters(path, {**(parameters or {}), "output": str(output.resolve())})
    executed = output / path.name
    output.mkdir(parents=True, exist_ok=True)
    _remove_earlier(output, executed)
    _execute(path, executed, parameters, timeout)
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    for where, what in errors(notebook):
        raise NotebookError(f"{path} ended, but there is an error in {where}: {what}; see {executed}")
    result = read_result(output)
    _write(executed.with_suffix(".html"), to_html(executed))
    return result


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
    for number, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield f"cell {number}", _spell(output)
    for state in _states(notebook["metadata"].get("widgets", {})):
        if state.get("output_type") == "error":
            yield "a widget", _spell(state)
        if _NO_FIGURE in str(state.get("value", "")):
            yield "a widget", re.sub("<[^>]*>", "", html.unescape(state["value"]))


def to_html(executed: Path) -> str:
    """An executed notebook as one self-contained HTML page."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter()
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    return exporter.from_filename(str(executed))[0]


def _execute(path: Path, executed: Path, parameters: Mapping[str, object], timeout: float | None) -> None:
    command = [sys.executable, "-m", "papermill", str(path), str(executed), "--kernel", "python3"]
    command += ["--no-progress-bar", "--parameters_yaml", json.dumps(parameters)]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=kernel_environment(),
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise NotebookError(f"{path} did not end within {timeout:g} s") from error
        if done.returncode == 0:
            return
        if _STARTUP_FAILURE not in done.stderr or attempt == _ATTEMPTS:
            raise NotebookError(f"{path} failed: {_reason(executed, done.stderr)}")


def kernel_environment() -> dict[str, str]:
    """This process's environment, in which Jupyter's kernel python3 is this interpreter's own: one that the user
    installed elsewhere under the same name would come first otherwise."""
    own = str(Path(sys.prefix) / "share" / "jupyter")
    paths = [own, *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return {**os.environ, "JUPYTER_PATH": os.pathsep.join(paths), "JUPYTER_PREFER_ENV_PATH": "1"}


def _reason(executed: Path, stderr: str) -> str:
    if executed.exists():
        for where, what in errors(json.loads(executed.read_text(encoding="utf-8"))):
            return f"{where}: {what}; see {executed}"
    return (stderr.strip().splitlines() or ["no message"])[-1]


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


def _remove_earlier(output: Path, executed: Path) -> None:
    # Only what an earlier run says that it wrote: the folder may hold other things.
    try:
        files = Result.model_validate_json((output / RESULT).read_bytes()).files
    except (OSError, ValidationError):
        files = []
    for file in [
        *(output / name for name in files),
        executed,
        executed.with_suffix(".html"),
        output / RESULT,
    ]:
        file.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


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
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
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
    print(f"Running {options.notebook} ...", flush=True)
    try:
        result = run_notebook(options.notebook, options.output, dict(options.parameters))
    except (ValueError, NotebookError) as error:
        print(error, file=sys.stderr)
        return 1
    print(_report(result, options.output / options.notebook.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
