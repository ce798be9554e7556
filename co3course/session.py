"""What every notebook starts and ends with.

``run = set_up(Parameters(...))`` validates the parameters, seeds everything and makes the output folder;
``write_result(run, ...)`` leaves ``metrics.json``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import random
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from co3lib.config import CoSegConfig
from co3lib.files import make_folder, path_of, remove_parts, write_text
from co3lib.memory import keep_freed_memory

from .metrics import RESULT, ClassResult, Result, inside, mean_precisions

_UNFINISHED = ".unfinished.json"  # in an output folder until there are metrics: the files that are, or may be, there already
VERSIONS = ("co3lib", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-image", "higra")
_SMOKE_PHOTOS = 6
WHOLE_PHOTO = (0, 1, 4, 5)
"""Windows of the set "coins" that do not overlap and together show each coin of the photo once."""

if TYPE_CHECKING:  # as in metrics.py
    from co3lib.datasets import Sample


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
            raise ValueError(f"photos must be a folder with photos of one kind of thing, got {photos!r}, which is not one")
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
        path = self.output / inside(name)
        if name not in self.names:
            if name not in self.earlier:
                refuse_foreign(path)
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

    keep_freed_memory()
    random.seed(parameters.seed)
    np.random.seed(parameters.seed % 2**32)  # noqa: NPY002  (libraries still draw from the global state)
    torch.manual_seed(parameters.seed)
    output = make_folder(parameters.output, "output")
    return Run(parameters, output, started, earlier_files(output, getattr(parameters, "photos", "")))


def load_classes(parameters: PhotoParameters) -> dict[str, list[Sample]]:
    """The photos that the parameters ask for, class -> samples.

    One's own: all photos of the folder that can be read, as one class of its name, without masks; for every other file a line
    says why it is left out. Otherwise the bundled ones: four windows that together are the whole photo of the coins, and six
    collages with cats, in the profile "smoke"; all windows, and the collages of all classes but the coins, in "full".
    ``ValueError`` if a folder holds fewer than two photos that can be read.
    """
    from co3lib.datasets import Sample, demo_set

    if not parameters.photos:
        windows, collages = demo_set("coins")["coin"], demo_set("collage")
        if parameters.profile == "smoke":
            return {"coin": [windows[k] for k in WHOLE_PHOTO], "cat": collages["cat"][:_SMOKE_PHOTOS]}
        return {**collages, "coin": windows}
    folder = Path(parameters.photos).expanduser().resolve()
    paths, left_out = usable_photos(folder)
    if left_out:
        print("\n".join(f"left out: {why}" for why in left_out))
    if len(paths) < 2:
        raise ValueError(f"photos must be a folder with at least two photos that can be read, got {folder} with {len(paths)}")
    return {folder.name: [Sample(path.name, folder.name, path, mask_paths=()) for path in paths]}


def own_photos(folder: str) -> list[Path]:
    """The photos in a folder that can be read, for every other file a line on why it is left out; none, and a line on what to
    do, while there are not two of them."""
    place = path_of(folder, "folder").absolute()
    paths, left_out = usable_photos(place) if place.is_dir() else ([], [])
    print("\n".join(f"left out: {why}" for why in left_out), end="\n" if left_out else "")
    if len(paths) > 1:
        print(f"{len(paths)} photos; allow about ten seconds for each")
        return paths
    print(f"No photos yet. Put two or more into {place} and run this cell again.")
    return []


def usable_photos(folder: Path) -> tuple[list[Path], list[str]]:
    """The photos in a folder that can be read, in the order of their names, and one sentence on each other file."""
    from co3lib.datasets import list_photos
    from co3lib.datasets.images import ImageError, read_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says in one line is said of each file below
        listed = list_photos(folder)
    usable, why = [], {}
    for path in listed:
        try:
            read_image(path)
            usable.append(path)
        except ImageError as error:
            why[path] = str(error).replace(str(path), path.name)
    for path in sorted({path for path in folder.iterdir() if path.name[0] != "."} - set(listed)):
        if path.suffix.lower() in (".heic", ".heif"):
            why[path] = f"{path.name} is HEIC, which cannot be read; save it as JPEG (iPhone: Camera, Most Compatible)"
        else:
            why[path] = f"{path.name} is {'a folder' if path.is_dir() else 'not a photo'}"
    return usable, [why[path] for path in sorted(why)]


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
    remove_files(run.output, set(run.earlier) - {*result.files, RESULT})
    write_text(run.output / RESULT, result.model_dump_json(indent=2) + "\n")
    (run.output / _UNFINISHED).unlink(missing_ok=True)
    return result


class _Earlier(BaseModel):
    """What any version's ``metrics.json`` holds, as far as it says what was written."""

    profile: str
    versions: dict[str, str]
    files: list[Annotated[str, AfterValidator(inside)]]


def earlier_files(output: Path, photos: str = "") -> list[str]:
    """The files in a folder that its metrics and an unfinished run say are theirs, relative to it; ``ValueError`` if the
    metrics are something else, or if some of those files are the photos to be read now."""
    names, result = [], output / RESULT
    if os.path.lexists(result):
        try:
            names += [*_Earlier.model_validate_json(result.read_bytes()).files, RESULT]
        except (OSError, ValidationError):
            refuse_foreign(result)
    try:
        names += TypeAdapter(list[Annotated[str, AfterValidator(inside)]]).validate_json((output / _UNFINISHED).read_bytes())
        names.append(_UNFINISHED)
    except (OSError, ValidationError):
        pass
    read = path_of(photos, "photos").resolve() if photos else None
    if any((output / name).resolve().parent == read for name in names if name not in (RESULT, _UNFINISHED)):
        raise ValueError(f"photos must be no folder that an earlier run wrote into {output} and this one removes, got {photos}")
    return names


def remove_files(output: Path, names: Iterable[str]) -> None:
    # And what a killed process left half done beside them.
    for file in [output / name for name in names]:
        if file.is_file() or file.is_symlink():
            file.unlink()
        if file.parent.is_dir():
            remove_parts(file.parent)
    remove_parts(output)


def refuse_foreign(path: Path) -> None:
    if os.path.lexists(path):
        raise ValueError(f"{path} is in the way: no earlier run is known to have written it; move it or name another output")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in VERSIONS}
