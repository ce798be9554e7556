"""The report of a sweep: each published column beside ours, classes, curves, photos, and what differs from the paper.

``OUT/report/`` gets for every table of the sweep a page ``<name>.md``, the same as ``<name>.html``, and all numbers in
``<name>.csv``; pictures are beside them. Nothing in it is typed in by hand: ours come from the runs' files, the published ones
from ``data/paper_results.csv``.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from PIL import Image

from co3lib.counts import counts
from co3lib.datasets import Sample, demo_set
from co3lib.datasets.bundled import DEMO_SETS
from co3lib.datasets.export import COLORS, PhotoResult, overlay, read_coco
from co3lib.evaluation import MEASURES, match, overlaps, precision_recall
from co3lib.files import aside, make_folder, write_text
from co3lib.instance import Instance, shown
from co3lib.overlap import tight_box
from co3lib.paper import paper_results
from co3lib.protocol import AUTHORS, protocol

from .markdown import markdown
from .sweep import Record, Task, read_records
from .table import published_table

_EXAMPLES = 10  # photos at either end
_HEIGHT = 200  # pixels of a photo in a picture
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#111;background:#fff;max-width:80rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}"
    "td,th{border:1px solid #bbb;padding:.2rem .5rem;text-align:left}"
    "img{max-width:100%}"
)


def write_reports(output: str | Path) -> list[Path]:
    """Write the report of every sweep in a folder.

    Parameters
    ----------
    output : the folder of ``sweep``.

    Returns
    -------
    The pages that were written, Markdown first.

    Raises
    ------
    ValueError : if there is no sweep in it.
    """
    output = Path(output)
    records = read_records(output)
    folder = make_folder(output / "report", "report")
    written: list[Path] = []
    for record in records:
        rows = numbers(record, output)
        text = page(record, output, rows, folder)
        paths = [folder / f"{record.name}{ending}" for ending in (".md", ".html", ".csv")]
        write_text(paths[0], text)
        body = MarkdownIt("commonmark").enable("table").render(text)
        title = html.escape(record.table.title)
        write_text(
            paths[1],
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
            f"<body>{body}</body></html>\n",
        )
        write_text(paths[2], rows.to_csv(index=False))
        written += paths
    return written


def numbers(record: Record, output: Path) -> pd.DataFrame:
    """All that is finished: row, set, class, seed, measure, ours and published in percent, photos, instances, seconds a photo.

    The published number is of the set's mean over classes; it is repeated with each of them."""
    paper = _published(record)
    rows = []
    for task in record.tasks:
        outcome = task.outcome(output)
        if outcome is None:
            continue
        shared = {"row": task.row, "set": task.set, "class": task.category, "seed": task.seed}
        counts = {"photos": outcome.photos, "instances": outcome.instances, "s a photo": outcome.seconds / outcome.photos}
        for name in record.table.measures:
            values = {"measure": name, "ours": 100 * outcome.measures[name], "published": paper.get((task.row, task.set, name))}
            rows.append(shared | values | counts)
    columns = ["row", "set", "class", "seed", "measure", "ours", "published", "photos", "instances", "s a photo"]
    return pd.DataFrame(rows, columns=columns)


def page(record: Record, output: Path, rows: pd.DataFrame, folder: Path) -> str:
    """A table's report as Markdown; pictures are written into ``folder``."""
    parts = [f"# {record.table.title}", _state(record, output)]
    if len(rows):
        parts += ["## The table", _summary_words(record), markdown(summary(record, rows))]
        parts += ["## The sets (Table 1)", markdown(sets_table(rows))]
        parts += ["## What differs from the authors' protocol", *_differences(record)]
        parts += ["## By class", _spread_words(record), markdown(by_class(record, rows))]
        parts += ["## Precision and recall", *_curves(record, output, folder)]
        parts += ["## Photos", *_photos(record, output, folder)]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(record: Record, rows: pd.DataFrame) -> pd.DataFrame:
    """A line a row of the table; for each set and measure ours, and the published number where there is one."""
    paper, lines = _published(record), {}
    sets = list(dict.fromkeys(task.set for task in record.tasks))
    for name in record.table.rows:
        line = {}
        for set_name in sets:
            for measure in record.table.measures:
                part = rows[(rows.row == name) & (rows.set == set_name) & (rows.measure == measure)]
                line[f"{set_name} {measure}"] = _mean(part, _wanted(record, name, set_name))
                if any((other, set_name, measure) in paper for other in record.table.rows):
                    value = paper.get((name, set_name, measure))
                    line[f"{set_name} {measure}, published"] = "" if value is None else f"{value:.1f}"
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def by_class(record: Record, rows: pd.DataFrame) -> pd.DataFrame:
    """A line a class and set; a column a row of the table, all measures in one cell, mean over seeds."""
    mean = rows.groupby(["set", "class", "row", "measure"], sort=False)["ours"].mean().unstack("measure")
    text = mean[list(record.table.measures)].apply(lambda line: " / ".join(f"{value:.0f}" for value in line), axis=1)
    table = text.unstack("row")[[name for name in record.table.rows if name in set(rows.row)]].fillna("")
    table.index = [f"{set_name}/{category}" for set_name, category in table.index]
    return table.rename_axis(f"class ({' / '.join(record.table.measures)})")


def sets_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Classes, photos and instances of each set that was run, beside those of the paper's Table 1."""
    paper = published_table("Table 1").set_index(["set", "measure"])["value"].to_dict()
    lines = {}
    for set_name, part in rows.groupby("set", sort=False):
        classes = part.drop_duplicates("class")
        ours = {"classes": len(classes), "images": classes.photos.sum(), "instances": classes.instances.sum()}
        lines[set_name] = {
            key: value
            for name, count in ours.items()
            for key, value in ((name, int(count)), (f"{name}, published", _count(paper.get((set_name, name)))))
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("set")


def _published(record: Record) -> dict[tuple[str, str, str], float]:
    """(row, set, measure) -> the published number."""
    if record.table.paper is None:
        return {}
    known = paper_results()
    known = known[known.table == record.table.paper].set_index(["method", "set", "measure"])["value"].to_dict()
    return {
        (name, set_name, measure): value
        for name, row in record.table.rows.items()
        for (method, set_name, measure), value in known.items()
        if method == row.paper
    }


def _mean(part: pd.DataFrame, wanted: int) -> str:
    if part.empty:
        return ""
    by_seed = part.groupby("seed")["ours"].mean()
    spread = f" ± {by_seed.std():.1f}" if len(by_seed) > 1 else ""
    lacking = f" ({len(part)} of {wanted} runs)" if len(part) < wanted else ""
    return f"{by_seed.mean():.1f}{spread}{lacking}"


def _wanted(record: Record, row: str, set_name: str) -> int:
    return sum(task.row == row and task.set == set_name for task in record.tasks)


def _count(value: float | None) -> str:
    return "" if value is None else str(int(value))


def _state(record: Record, output: Path) -> str:
    finished = sum(task.outcome(output) is not None for task in record.tasks)
    lines = [f"{finished} of {len(record.tasks)} runs are finished; a run is one class under one row with one seed."]
    if record.absent:
        lines.append(f"Sets that were asked for and are not there: {', '.join(record.absent)}.")
    if finished < len(record.tasks):
        failed = [
            f"- {task.row}, {task.set}/{task.category}: {record.failed[task.key]}"
            for task in record.tasks
            if task.key in record.failed
        ]
        lines.append(
            "What is not finished is left out of all means; they say so." + "".join(f"\n{line}" for line in ["", *failed])
        )
    return "\n\n".join(lines)


def _summary_words(record: Record) -> str:
    seeds = len(record.table.seeds)
    return (
        "Percent, mean over classes"
        + (
            f" and {seeds} seeds; ± is the standard deviation over seeds of that mean."
            if seeds > 1
            else "; one seed, so no spread."
        )
        + (" Published numbers are the paper's, on the authors' own sets." if record.table.paper else "")
        + (f" At most {record.table.photos} photos of each class." if record.table.photos else "")
    )


def _spread_words(record: Record) -> str:
    return f"Percent, mean over {len(record.table.seeds)} seeds." if len(record.table.seeds) > 1 else "Percent."


def _differences(record: Record) -> Iterator[str]:
    """For every row the points of the protocol that are not the authors', the same ones of several rows said once."""
    said: dict[str, list[str]] = {}
    for name in record.table.rows:
        tasks = [task for task in record.tasks if task.row == name]
        if not tasks:
            continue
        points: dict[str, None] = {}
        for task in {(task.experiment.ready_priors, task.experiment.ready_proposals): task for task in tasks}.values():
            table = protocol(task.experiment.model_copy(update={"seeds": record.table.seeds}), {})
            for point, line in table[table.same == "NO"].iterrows():
                if point not in ("set", "classes", "images", "instances"):
                    ours, theirs = line["this run"], line["released code"]
                    if point in AUTHORS:
                        ours, theirs = _only_differing(ours, theirs)
                    points[f"{point}: {ours} (theirs: {theirs})"] = None
        for text in points:
            said.setdefault(text, []).append(name)
    rows = [name for name in record.table.rows if any(task.row == name for task in record.tasks)]
    lines = [f"- {text}" + ("" if names == rows else f" — of {', '.join(names)}") for text, names in said.items()]
    yield "\n".join(lines) if lines else "Nothing."
    photos = record.table.photos
    sets = [
        name for name in dict.fromkeys(task.set for task in record.tasks) if name not in set(published_table("Table 1")["set"])
    ]
    if photos or sets:
        what = [f"at most {photos} photos of each class"] if photos else []
        what += [f"sets that are not the paper's: {', '.join(sets)}"] if sets else []
        yield f"Beside that: {'; '.join(what)}. **Not comparable with the published numbers.**"


def _only_differing(ours: str, theirs: str) -> tuple[str, str]:
    """Of two lists of settings, "name value, name value", those that are not in both."""
    lists = [re.split(r", (?=[a-z_]+ )", text) for text in (ours, theirs)]
    first, second = ([one for one in some if one not in other] for some, other in (lists, lists[::-1]))
    return ", ".join(first), ", ".join(second)


def _curves(record: Record, output: Path, folder: Path) -> Iterator[str]:
    """One picture a set: precision over recall at IoU 0.5, a panel a class, a line a row."""
    names = list(record.table.rows)
    shades = [tuple(value / 255 for value in color) for color in COLORS]
    for set_name in dict.fromkeys(task.set for task in record.tasks):
        tasks = [task for task in record.tasks if task.set == set_name and task.seed == record.table.seeds[0]]
        classes = list(dict.fromkeys(task.category for task in tasks))
        columns = min(4, len(classes))
        lines = -(-len(classes) // columns)
        figure = Figure(figsize=(3.1 * columns + 0.4, 2.7 * lines + 0.3 * (len(names) // 3 + 1)), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        drawn = {}
        for task in tasks:
            if task.outcome(output) is None:
                continue
            precision, recall = _curve(_results(task, output))
            k = names.index(task.row)
            style = ("-", "--", ":")[k // len(shades) % 3]
            axis = axes[classes.index(task.category)]
            (drawn[task.row],) = axis.plot(recall, precision, style, color=shades[k % len(shades)], linewidth=1.5)
        for axis, category in zip(axes, classes, strict=False):
            axis.set_title(category, fontsize=9, parse_math=False)
            axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        for axis in axes[len(classes) :]:
            axis.set_axis_off()
        figure.legend(
            drawn.values(), drawn.keys(), loc="outside lower center", ncols=min(3, len(names)), fontsize=8, frameon=False
        )
        path = folder / f"{record.name}-{set_name}-curves.png"
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        with aside(path) as part:
            part.write_bytes(buffer.getvalue())
        yield f"![Precision over recall of each class of {set_name}, a line a method]({_link(path.name)})"
        seed = record.table.seeds[0]
        yield f"*{set_name}: precision over recall at IoU 0.5, seed {seed}; a line that ends early has found no more.*"


def _curve(photos: Sequence[PhotoResult]) -> tuple[np.ndarray, np.ndarray]:
    known = [photo for photo in photos if photo.truth is not None]
    ious, scores = overlaps([photo.instances for photo in known], (photo.truth for photo in known if photo.truth is not None))
    right = torch.cat([match(matrix, value, MEASURES["AP50"]) for matrix, value in zip(ious, scores, strict=True)])
    precision, recall = precision_recall(right, torch.cat(scores), sum(matrix.shape[1] for matrix in ious))
    return precision.numpy(), recall.numpy()


def _photos(record: Record, output: Path, folder: Path) -> Iterator[str]:
    """The first row's best and worst photos: pictures of the bundled sets, names of all."""
    first, seed = next(iter(record.table.rows)), record.table.seeds[0]
    judged = []
    for task in record.tasks:
        if task.row == first and task.seed == seed and task.outcome(output) is not None:
            photos = _results(task, output)
            kept = shown([photo.instances for photo in photos])
            judged += [(_f_score(photo, some), task, photo, some) for photo, some in zip(photos, kept, strict=True)]
    judged.sort(key=lambda one: -one[0])
    count = min(_EXAMPLES, len(judged) // 2)
    yield (
        f"Photos of the row *{first}*, seed {seed}, from 0 to 1: twice the right ones (IoU over 0.5) over those that "
        "are shown and those that are there together."
    )
    for word, part in (("best", judged[:count]), ("worst", judged[len(judged) - count :][::-1])):
        yield f"The {count} {word}: " + ", ".join(
            f"{task.set}/{task.category}/{photo.name} ({score:.2f})" for score, task, photo, _ in part
        )
    bundled = [one for one in judged if one[1].experiment.root is None and one[1].set in DEMO_SETS]
    count = min(_EXAMPLES, len(bundled) // 2)
    for word, part in (("best", bundled[:count]), ("worst", bundled[len(bundled) - count :][::-1])):
        if part:
            path = folder / f"{record.name}-{word}.jpg"
            with aside(path) as file:
                Image.fromarray(_sheet(part)).save(file, format="jpeg", quality=80)
            yield f"![The {count} {word} photos of the bundled sets: above the truth, below what is shown]({_link(path.name)})"
            yield f"*The {count} {word} of the bundled sets; above the truth, below what is shown.*"


def _f_score(photo: PhotoResult, kept: Sequence[Instance]) -> float:
    found = counts([kept], [] if photo.truth is None else [photo.truth])
    return 2 * found.right / max(found.shown + found.right + found.missed, 1)


def _sheet(part: Sequence[tuple[float, Task, PhotoResult, Sequence[Instance]]]) -> np.ndarray:
    """Photos side by side, each with the truth above and what is shown below; five in a line."""
    columns = []
    for _, task, photo, kept in part:
        sample = _sample(task, photo.name)
        image, truth = sample.image, sample.masks.numpy()
        masks = [Instance(mask, 1.0, (0, 0), tight_box(mask)) for mask in truth if mask.any()]
        width = round(image.shape[1] * _HEIGHT / image.shape[0])
        pair = [Image.fromarray(overlay(image, some)).resize((width, _HEIGHT)) for some in (masks, list(kept))]
        columns.append(np.concatenate([np.asarray(one) for one in pair]))
    lines = [np.concatenate(columns[k : k + 5], 1) for k in range(0, len(columns), 5)]
    widest = max(line.shape[1] for line in lines)
    return np.concatenate([np.pad(line, ((0, 8), (0, widest - line.shape[1]), (0, 0)), constant_values=255) for line in lines])


def _sample(task: Task, name: str) -> Sample:
    return next(sample for sample in demo_set(task.set)[task.category] if sample.image_path.name == name)


def _results(task: Task, output: Path) -> list[PhotoResult]:
    return read_coco(task.folder(output) / task.category / f"seed_{task.seed}")


def _link(name: str) -> str:
    return "".join(f"%{byte:02X}" if chr(byte) in ' %()<>"\\' or byte > 126 else chr(byte) for byte in name.encode())
