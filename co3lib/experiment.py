"""One validated, resumable run over the categories and seeds of a set, and the numbers of the paper to put beside it.

    table = run_experiment(Experiment(set="collage", seeds=(0, 1, 2)), "results/collage")

An output folder holds ``experiment.json`` and for every category and seed a folder ``<category>/seed_<k>`` with
``outcome.json`` (the numbers) and the files of ``export.write_coco``, from two of which, ``ground_truth.json`` and
``results.json``, every number can be recomputed without photos, network or weights: ``recompute(folder)``. Explained in
``notebooks/14_reproduce_a_table_row.ipynb``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, overload

import pandas as pd
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from tqdm import tqdm

from .beyond.methods import METHODS, segment
from .checks import choice
from .config import CoSegConfig
from .datasets import Sample, demo_set, read_set
from .datasets.export import PhotoResult, read_coco, write_coco
from .evaluation import MEASURES, evaluate
from .files import aside, make_folder, path_of, remove_parts, write_text
from .paper import PAPER, paper_results, published

__all__ = [
    "PAPER",
    "Experiment",
    "ExperimentResult",
    "measure",
    "paper_results",
    "published",
    "read_classes",
    "read_outcomes",
    "recompute",
    "results_table",
    "run_experiment",
]

_DESCRIPTION, _OUTCOME, _CHECKPOINTS = "experiment.json", "outcome.json", ".checkpoints"

Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Experiment(BaseModel):
    """What is to be run. Unknown names and impossible values are errors before anything starts.

    Attributes
    ----------
    root : the folder that holds the set; None for a bundled one.
    set : the set's name.
    classes : some of its categories; None: all.
    photos : at most so many of each category, the first by name; None: all.
    method : one of ``beyond.methods.METHODS``, under which one protocol each of them is run.
    config : the settings, their own seed left at 0.
    seeds : one run each.
    ready_priors, ready_proposals : whether the set's own saliency priors and proposals are used in place of those made here. A
        set that lacks what is asked for is an error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path | None = None
    set: Annotated[str, Field(min_length=1)]
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    photos: Annotated[int, Field(ge=2)] | None = None
    method: Annotated[str, AfterValidator(lambda value: choice(value, "method", METHODS))] = "deepco3"
    config: CoSegConfig = CoSegConfig()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    ready_priors: bool = False
    ready_proposals: bool = False

    @field_validator("classes", "seeds")
    @classmethod
    def _are_different(cls, values):
        if values is not None and len(set(values)) < len(values):
            raise ValueError(f"each must be named once, got {', '.join(map(str, values))}")
        return values

    @field_validator("config")
    @classmethod
    def _leaves_the_seed(cls, config: CoSegConfig) -> CoSegConfig:
        if config.seed:
            raise ValueError(f"the experiment's seeds say which are run; config.seed must be 0, got {config.seed}")
        return config


class ExperimentResult(BaseModel):
    """What came of one category with one seed.

    Attributes
    ----------
    category, seed : which they are.
    photos, instances, found : how many photos, ground-truth instances and detections there are.
    measures : the numbers of ``measure``, in [0, 1].
    seconds : of fitting and segmenting; where the run was stopped, from where it was last resumed.
    weights_sha256 : of the backbone's weights as built; empty where the method needs no network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str
    seed: Seed
    photos: Count
    instances: Count
    found: Count
    measures: dict[str, Share]
    seconds: Annotated[float, Field(ge=0)]
    weights_sha256: str


def run_experiment(
    experiment: Experiment, output: str | Path, progress: bool = True, device: str | torch.device | None = None
) -> pd.DataFrame:
    """Fit and segment every category with every seed.

    What is finished is kept; a run that was stopped goes on where it was, in the middle of a training from the end of
    its last epoch, to the same numbers.

    Parameters
    ----------
    experiment : what is to be run.
    output : the output folder; made if it is not there.
    progress : whether bars show the progress.
    device : as for ``device.device_of``; it is no part of the experiment, as it changes the numbers by rounding alone.

    Returns
    -------
    ``results_table(output)``.

    Raises
    ------
    ValueError : if ``output`` belongs to a different experiment, nothing can be written to it, or something else lies where a
        category and seed belong.
    """
    output = path_of(output, "output")
    classes = read_classes(experiment)
    _claim(output, experiment)
    left = [(name, seed) for name in classes for seed in experiment.seeds if not _is_finished(_folder(output, name, seed))]
    if left:
        make_folder(output, "output")
    bar = tqdm(left, disable=not progress, desc="class and seed", unit="run")
    for name, seed in bar:
        bar.set_postfix_str(f"{name}, seed {seed}")
        _run_one(experiment, classes[name], seed, output, progress, device)
    if (output / _CHECKPOINTS).is_dir():
        remove_parts(output / _CHECKPOINTS)
    return results_table(output)


def read_classes(experiment: Experiment) -> dict[str, list[Sample]]:
    """The photos of an experiment.

    Returns
    -------
    Category -> samples.

    Raises
    ------
    ValueError : for a category that the set does not have, one with fewer than two photos or without a single mask, and
        ready-made priors or proposals that are not there.
    """
    found = demo_set(experiment.set) if experiment.root is None else read_set(experiment.root, experiment.set)
    for name in experiment.classes or ():
        choice(name, f"a class of {experiment.set}", list(found))
    classes = {name: found[name][: experiment.photos] for name in experiment.classes or found}
    for name, samples in classes.items():
        if len(samples) < 2:
            raise ValueError(f"class {name} of {experiment.set} must have at least two photos, got {len(samples)}")
        if not any(sample.mask_paths for sample in samples):
            raise ValueError(f"class {name} of {experiment.set} has no mask to measure against")
        for wanted, what in ((experiment.ready_priors, "prior"), (experiment.ready_proposals, "proposals")):
            lacking = [sample.name for sample in samples if wanted and getattr(sample, f"{what}_path") is None]
            if lacking:
                raise ValueError(f"ready_{what.rstrip('s')}s were asked for, but {name}/{lacking[0]} has no {what}")
    return classes


def measure(photos: Sequence[PhotoResult]) -> dict[str, float]:
    """``evaluate`` of the photos of one category."""
    return evaluate([photo.instances for photo in photos], (photo.truth for photo in photos if photo.truth is not None))


def recompute(output: str | Path) -> dict[tuple[str, int], dict[str, float]]:
    """(category, seed) -> ``measure`` anew from the COCO files of an output folder alone."""
    return {(run.category, run.seed): measure(read_coco(folder)) for folder, run in _finished(path_of(output, "output"))}


def read_outcomes(output: str | Path) -> list[ExperimentResult]:
    """What is finished in an output folder, in the order of categories and seeds."""
    return [outcome for _, outcome in _finished(path_of(output, "output"))]


def results_table(output: str | Path) -> pd.DataFrame:
    """The results in an output folder as a table, with a row for each category and one for their mean.

    Returns
    -------
    Counts, then for every measure its mean over seeds in percent and its spread, the standard deviation over seeds (NaN for a
    single seed). The last row's spread is that of the mean over categories; a category may be called ``mean`` too.

    Raises
    ------
    ValueError : if nothing is finished.
    """
    outcomes = read_outcomes(output)
    if not outcomes:
        raise ValueError(f"{output} holds no finished class and seed")
    names = (*MEASURES, "CorLoc")
    rows = [
        {"class": run.category, "seed": run.seed, "photos": run.photos, "instances": run.instances, "found": run.found}
        | {name: 100 * run.measures[name] for name in names}
        | {"s a photo": run.seconds / run.photos}
        for run in outcomes
    ]
    runs = pd.DataFrame(rows)
    by_class = runs.drop(columns="seed").groupby("class", sort=False)
    by_seed = runs.groupby("seed")[list(names)].mean()
    means, spreads = by_class.mean(), by_class[list(names)].std()
    last = means.mean()
    last[["photos", "instances", "found"]] = means[["photos", "instances", "found"]].sum()
    table = pd.concat([means, last.to_frame("mean").T])
    spreads = pd.concat([spreads, by_seed.std().to_frame("mean").T])
    for name in names:
        table.insert(table.columns.get_loc(name) + 1, f"{name} spread", spreads[name].to_numpy())
    return table


def _run_one(experiment: Experiment, samples: list[Sample], seed: int, output: Path, progress: bool, device) -> None:
    name = samples[0].category
    # First: a damaged mask should not be found after hours of training.
    photos = [PhotoResult(sample.image_path.name, name, sample.image.shape[:2], [], _truth(sample)) for sample in samples]
    started = time.perf_counter()
    paths = [sample.image_path for sample in samples]
    config = experiment.config.model_copy(update={"seed": seed})
    checkpoint = output / _CHECKPOINTS / f"{name}_seed_{seed}.safetensors"
    priors = _Later(samples, lambda sample: sample.prior) if experiment.ready_priors else None
    limit = config.max_proposals
    proposals = _Later(samples, lambda sample: sample.best_proposals(limit)) if experiment.ready_proposals else None
    found, weights_sha256 = segment(experiment.method, paths, config, priors, proposals, checkpoint, progress, device)
    seconds = time.perf_counter() - started
    for photo, instances in zip(photos, found, strict=True):
        photo.instances = instances
    outcome = ExperimentResult(
        category=name,
        seed=seed,
        photos=len(photos),
        instances=sum(len(sample.mask_paths) for sample in samples),
        found=sum(len(photo.instances) for photo in photos),
        measures=measure(photos),
        seconds=round(seconds, 2),
        weights_sha256=weights_sha256,
    )
    _keep(_folder(output, name, seed), photos, outcome)
    checkpoint.unlink(missing_ok=True)


def _truth(sample: Sample) -> torch.Tensor:
    masks = sample.masks
    for path, mask in zip(sample.mask_paths, masks, strict=True):
        if not mask.any():
            raise ValueError(f"{path} must have at least one pixel of its instance, got an empty mask")
    return masks


class _Later(Sequence[object]):
    """Values made one at a time when asked for: those of a hundred photos may not fit into memory together."""

    def __init__(self, samples: Sequence[Sample], make: Callable[[Sample], object]):
        self.samples, self.make = samples, make

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, k: int) -> object: ...
    @overload
    def __getitem__(self, k: slice) -> _Later: ...
    def __getitem__(self, k: int | slice) -> object:
        return _Later(self.samples[k], self.make) if isinstance(k, slice) else self.make(self.samples[k])


def _claim(output: Path, experiment: Experiment) -> None:
    """Make the folder this experiment's, or refuse it."""
    path = output / _DESCRIPTION
    if path.exists():
        try:
            earlier = Experiment.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            raise ValueError(f"{path} is not the description of an experiment; name another output folder") from error
        if earlier != experiment:
            differing = ", ".join(_differences(earlier, experiment))
            raise ValueError(f"{output} holds a different experiment (it differs in {differing}); name another output folder")
        return
    if output.exists() and (not output.is_dir() or any(_finished(output))):
        raise ValueError(f"{output} is not a folder that an experiment can be written to; name another output folder")
    make_folder(output, "output")
    write_text(path, experiment.model_dump_json(indent=2) + "\n")


def _differences(first: BaseModel, second: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(first).model_fields:
        value, other = getattr(first, name), getattr(second, name)
        if isinstance(value, BaseModel):
            yield from _differences(value, other, f"{name}.")
        elif value != other:
            yield prefix + name


def _folder(output: Path, category: str, seed: int) -> Path:
    return output / category / f"seed_{seed}"


def _is_finished(folder: Path) -> bool:
    if (folder / _OUTCOME).is_file():
        outcome = _read(folder / _OUTCOME)
        if not _belongs(folder, outcome):
            raise ValueError(f"{folder} holds the outcome of {outcome.category}, seed {outcome.seed}; move it to its own place")
        return True
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} is in the way: it holds no outcome of a class and seed; move it or name another output")
    return False


def _keep(folder: Path, photos: Sequence[PhotoResult], outcome: ExperimentResult) -> None:
    # The three files are put in place at once, as a folder: what is there is whole.
    try:
        with aside(folder) as part:
            write_coco(part, photos)
            write_text(part / _OUTCOME, outcome.model_dump_json(indent=2) + "\n")
    except OSError:
        if not _is_finished(folder):  # another process was quicker otherwise
            raise


def _finished(output: Path) -> Iterator[tuple[Path, ExperimentResult]]:
    found = [(path.parent, _read(path)) for path in output.glob(f"*/seed_*/{_OUTCOME}")]
    strays = sorted(str(folder.relative_to(output)) for folder, outcome in found if not _belongs(folder, outcome))
    if strays:  # copies and moved folders; counted, they would be there twice or as something else
        warnings.warn(f"left out, as they are not where a run puts them: {', '.join(strays)} in {output}", stacklevel=3)
    kept = [pair for pair in found if _belongs(*pair)]
    yield from sorted(kept, key=lambda pair: (pair[1].category, pair[1].seed))


def _read(path: Path) -> ExperimentResult:
    try:
        return ExperimentResult.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise ValueError(f"{path} is not the outcome of a class and seed; remove its folder to run it again") from error


def _belongs(folder: Path, outcome: ExperimentResult) -> bool:
    return (folder.parent.name, folder.name) == (outcome.category, f"seed_{outcome.seed}")
