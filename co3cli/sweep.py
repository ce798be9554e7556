"""All runs of a table, on this machine or on a cluster, resumable at any moment.

One class of one set under one row with one seed is a task. Its *key* is a digest of all that decides its numbers: the method,
the configuration, the seed, the version of the library, and the contents of the photos, masks and ready-made inputs. What is
finished lies in ``OUT/runs/<key>``, as ``experiment.run_experiment`` writes it, and is never run again, whichever table asks
for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dask
import torch
from distributed import Client, LocalCluster, as_completed
from pydantic import ValidationError
from tqdm import tqdm

import co3lib
from co3lib.datasets import Sample
from co3lib.experiment import Experiment, ExperimentResult, read_outcomes, run_experiment
from co3lib.files import make_folder, remove, write_text
from co3lib.memory import keep_freed_memory

from .table import Table, experiment_of, find_sets

_WHOLE = 64 * 2**20  # bytes; of larger files, which are ready-made proposals, the size and the first megabyte count
_RUNS, _RECORD = "runs", ".sweep.json"
_ANSWER = 20  # seconds in which a scheduler must answer


@dataclass(frozen=True)
class Task:
    """One class of one set under one row with one seed.

    Attributes
    ----------
    row, set, category, seed : which it is.
    photos, instances : how many there are.
    key : the digest of what decides its numbers.
    experiment : what is run.
    """

    row: str
    set: str
    category: str
    seed: int
    photos: int
    instances: int
    key: str
    experiment: Experiment

    def folder(self, output: Path) -> Path:
        """Where its results are."""
        return output / _RUNS / self.key

    def outcome(self, output: Path) -> ExperimentResult | None:
        """What came of it; None if it is not finished."""
        folder = self.folder(output)
        outcomes = read_outcomes(folder) if folder.is_dir() else []
        return outcomes[0] if outcomes else None


@dataclass(frozen=True)
class Record:
    """What a sweep was asked for, kept beside its results: ``OUT/<name>.sweep.json``.

    Attributes
    ----------
    name, table : the table.
    root : the folder with the sets; None for the bundled ones alone.
    absent : the sets that were named and are not there.
    tasks : all that belongs to the table.
    failed : a task's key -> why it failed, of the last run.
    """

    name: str
    table: Table
    root: str | None
    absent: list[str]
    tasks: list[Task]
    failed: dict[str, str]

    def write(self, output: Path) -> None:
        """Keep it in ``output``."""
        tasks = [{**asdict(task), "experiment": task.experiment.model_dump(mode="json")} for task in self.tasks]
        table = self.table.model_dump(mode="json")
        values = {"name": self.name, "table": table, "root": self.root, "absent": self.absent, "failed": self.failed}
        write_text(output / f"{self.name}{_RECORD}", json.dumps({**values, "tasks": tasks}, indent=1) + "\n")


def read_records(output: Path) -> list[Record]:
    """The records of all sweeps into a folder.

    Raises
    ------
    ValueError : for a record that cannot be read, and where there is none.
    """
    records = []
    for path in sorted(output.glob(f"*{_RECORD}")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            tasks = [Task(**{**task, "experiment": Experiment.model_validate(task["experiment"])}) for task in values["tasks"]]
            table = Table.model_validate(values["table"])
            records.append(Record(values["name"], table, values["root"], values["absent"], tasks, values["failed"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not the record of a sweep; remove it and run the sweep again") from error
    if not records:
        raise ValueError(f"{output} holds no sweep; run `co3 sweep TABLE --out {output}` first")
    return records


def tasks_of(table: Table, root: Path | None, names: Sequence[str] = (), progress: bool = True) -> tuple[list[Task], list[str]]:
    """All tasks of a table, and the names of the sets that are not there.

    Parameters
    ----------
    table, root, names : as for ``table.find_sets``.
    progress : whether a bar shows how far the photos are read, which their digests need.
    """
    found, absent = find_sets(table, root, names)
    classes = [(name, some) for name, categories in found.items() for some in categories.values()]
    tasks = []
    for name, every in tqdm(classes, disable=not progress, desc="reading", unit="class"):
        samples = every[: table.photos]
        if len(samples) < 2 or not any(sample.mask_paths for sample in samples):
            warnings.warn(
                f"left out: class {every[0].category} of {name}, which has fewer than two photos or no mask", stacklevel=2
            )
            continue
        digests: dict[tuple[bool, bool], str] = {}
        for row_name, row in table.rows.items():
            for seed in table.seeds:
                experiment = experiment_of(table, row, None if _is_bundled(name, root) else root, name, samples, seed)
                ready = experiment.ready_priors, experiment.ready_proposals
                if ready not in digests:
                    digests[ready] = _digest_of(samples, *ready)
                key = _key(experiment, digests[ready])
                instances = sum(len(sample.mask_paths) for sample in samples)
                category = samples[0].category
                tasks.append(Task(row_name, name, category, seed, len(samples), instances, key, experiment))
    return tasks, absent


def sweep(
    name: str,
    table: Table,
    output: Path,
    root: Path | None = None,
    sets: Sequence[str] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Record:
    """Run what is not finished of a table.

    Parameters
    ----------
    name, table : the table, as ``read_table`` gives it.
    output : the folder of all results.
    root, sets : as for ``table.find_sets``.
    workers : how many processes, each with one thread, so that numbers do not depend on how many there are; None: one a core,
        or one for a GPU.
    scheduler : the address of a dask scheduler whose workers see ``root`` and ``output`` under the same paths; None: processes
        of this machine.
    progress : whether a bar shows how much is done and the time left.
    say : takes sentences for the user.

    Returns
    -------
    The record, with the failed tasks in it.
    """
    output = make_folder(output, "--out").resolve()
    root = None if root is None else root.resolve()
    tasks, absent = tasks_of(table, root, sets, progress)
    record = Record(name, table, None if root is None else str(root), absent, tasks, {})
    record.write(output)
    unique = {task.key: task for task in tasks}
    left = [task for task in unique.values() if task.outcome(output) is None]
    if absent:
        say(f"Not there, so left out: {', '.join(absent)}.")
    say(f"{len(tasks)} runs of {name}: {len(unique) - len(left)} finished before, {len(left)} to do.")
    if left:
        record = replace(record, failed=_run(left, list(unique.values()), output, workers, scheduler, progress))
        record.write(output)
    for key, why in record.failed.items():
        task = unique[key]
        say(f"Failed: {task.row}, {task.set}/{task.category}, seed {task.seed}: {why}")
    return record


def run_task(experiment: str, folder: str) -> None:
    """Run one task; called on a worker.

    Parameters
    ----------
    experiment : as JSON.
    folder : where its results belong.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    wanted, place = Experiment.model_validate_json(experiment), Path(folder)
    description = place / "experiment.json"
    try:
        same = Experiment.model_validate_json(description.read_bytes()) == wanted
    except OSError:
        same = True  # nothing has been begun
    except ValidationError:
        same = False
    if not same and not read_outcomes(place):
        remove(place)  # begun with the set in another folder: the key says that the photos are the same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the tasks were listed
        run_experiment(wanted, place, progress=False)


def _run(left: list[Task], every: list[Task], output: Path, workers, scheduler, progress: bool) -> dict[str, str]:
    failed = {}
    total, done = sum(task.photos for task in every), sum(task.photos for task in every) - sum(task.photos for task in left)
    with _client(workers, scheduler, len(left)) as client:
        longest_first = sorted(left, key=lambda task: -task.photos)
        futures = {
            client.submit(
                run_task,
                task.experiment.model_dump_json(),
                str(task.folder(output)),
                key=task.key,
                priority=task.photos,
                pure=False,
            ): task
            for task in longest_first
        }
        with tqdm(total=total, initial=done, disable=not progress, desc="sweep", unit="photo", smoothing=0.05) as bar:
            for future in as_completed(futures):
                task = futures[future]
                if future.status == "error":
                    failed[task.key] = _sentence(future.exception())
                bar.set_postfix_str(f"{task.row}, {task.set}/{task.category}" + f", {len(failed)} failed" * bool(failed))
                bar.update(task.photos)
                future.release()
    return failed


@contextmanager
def _client(workers: int | None, scheduler: str | None, tasks: int) -> Iterator[Client]:
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if scheduler:
        try:
            client = Client(scheduler, timeout=_ANSWER)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--scheduler must be the address of a dask scheduler, got {scheduler}, which does not answer"
            ) from error
        with client:
            yield client
        return
    count = workers or (1 if torch.cuda.is_available() else os.cpu_count() or 1)
    # Memory is left to the system: a worker that is killed at a share of it would lose a class that just fits.
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0", "memory_limit": 0}
    with (
        # A machine that slept has lost no worker: each is watched by a process of this one, which starts it again if it ends.
        dask.config.set({"distributed.scheduler.worker-ttl": None}),
        LocalCluster(n_workers=min(count, tasks), silence_logs=logging.CRITICAL, **options) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _sentence(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if type(error).__name__ == "KilledWorker":
        return "its process was killed again and again, perhaps for want of memory"
    return said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}"


def _key(experiment: Experiment, photos: str) -> str:
    weights = Path(experiment.config.weights)
    decides = {
        "method": experiment.method,
        "config": experiment.config.model_dump(mode="json", exclude={"seed", "weights"}),
        "weights": _file_digest(weights) if weights.is_file() else experiment.config.weights,
        "seed": experiment.seeds,
        "ready": [experiment.ready_priors, experiment.ready_proposals],
        "photos": photos,
        "version": co3lib.__version__,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:24]


def _digest_of(samples: Sequence[Sample], priors: bool, proposals: bool) -> str:
    sha = hashlib.sha256()
    for sample in samples:
        ready = [path for path, used in ((sample.prior_path, priors), (sample.proposals_path, proposals)) if used and path]
        for path in (sample.image_path, *sample.mask_paths, *ready):
            sha.update(f"{sample.category}/{path.name}\0{_file_digest(path)}\0".encode())
    return sha.hexdigest()


def _file_digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(file.read(2**20) + str(size).encode()).hexdigest()


def _is_bundled(name: str, root: Path | None) -> bool:
    return root is None or not (root / name / "Image").is_dir()
