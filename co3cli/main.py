"""The command ``co3``.

co3 segment PHOTOS/ --out OUT/          masks, overlays, a COCO data set and a contact sheet of one's own photos
co3 build voc12 --source ... --out ...  a set in the authors' layout from public originals
co3 sweep TABLE --root SETS --out OUT   all runs of a table, resumable, on this machine or on a cluster
co3 tables OUT                          the report of what has been run
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from co3lib.command_line import application, one_sentence
from co3lib.datasets.command import app as build
from co3lib.files import print_anything
from co3lib.memory import keep_freed_memory

app = application("Instance co-segmentation: a mask for each thing that photos share.")
app.add_typer(build, name="build")


@app.command()
def segment(
    photos: Annotated[Path, typer.Argument(help="Folder with at least two photos that share a kind of thing.")],
    out: Annotated[Path, typer.Option(help="New folder for the results.")],
    preset: Annotated[str, typer.Option(help="default, released or published.")] = "default",
    backbone: Annotated[
        str, typer.Option(help="efficientnet_lite0, vgg16_fc6, vgg16_pool5 or a timm network.")
    ] = "efficientnet_lite0",
    weights: Annotated[str, typer.Option(help="imagenet, random or a file.")] = "imagenet",
    epochs: Annotated[int | None, typer.Option(help="Of training; the preset's own if left out.")] = None,
    category: Annotated[str | None, typer.Option(help="What the photos share; the folder's name if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order of the photos in training.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one, if left out.")] = None,
) -> None:
    """Find every instance in a folder of photos. Stop it when you like: the same command goes on."""
    with one_sentence():
        from co3lib.config import PRESETS, CoSegConfig

        from .segment import segment_folder

        if preset not in PRESETS:
            raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {preset}")
        own = {} if epochs is None else {"epochs": epochs}
        config = CoSegConfig.preset(preset, backbone=backbone, weights=weights, seed=seed, **own)
        segment_folder(photos, out, config, category, sys.stderr.isatty(), typer.echo, device)


@app.command()
def sweep(
    table: Annotated[str, typer.Argument(help="table2, table3, table4, figure4, light, or a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder of all results; what is finished there is never run again.")],
    root: Annotated[Path | None, typer.Option(help="Folder with sets in the authors' layout.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A set in place of the table's; may be given again; 'all'.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core, or one for a GPU, if left out.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler, such as tcp://host:8786.")] = None,
) -> None:
    """Run all rows of a table on all classes. Stop it when you like: the same command goes on."""
    with one_sentence():
        with _extra():
            from .sweep import sweep as run
            from .table import read_table
        name, content = read_table(table)
        record = run(name, content, out, root, set_ or (), workers, scheduler, sys.stderr.isatty(), typer.echo)
        typer.echo(f"Report: co3 tables {out}")
        if record.failed:
            raise typer.Exit(1)


@app.command()
def tables(out: Annotated[Path, typer.Argument(help="Folder of a sweep.")]) -> None:
    """Write the report of a sweep, finished or not: Markdown, HTML and CSV in OUT/report."""
    with one_sentence():
        with _extra():
            from .report import write_reports
        for path in write_reports(out):
            typer.echo(path)


@contextmanager
def _extra() -> Iterator[None]:
    """Where the extra is not installed, one sentence says how to have it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(f"this command needs {error.name}, which the extra has: pip install '.[sweep]'") from error


def main() -> None:
    """Run the command; characters that the terminal cannot show are printed as escapes."""
    print_anything()
    keep_freed_memory()
    app()


if __name__ == "__main__":
    main()
