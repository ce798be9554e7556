"""The command that makes sets in the authors' layout from public originals: ``python -m co3lib.datasets build KIND ...``.

``app`` holds a command for each kind of original. Each prints how many photos and instances every class has, and beside the
sums what the paper has. What goes wrong is one sentence on the standard error, with exit code 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from ..checks import choice
from ..command_line import application, one_sentence
from ..paper import paper_results
from .download import ARCHIVES, fetch
from .errors import DatasetError
from .originals import Built, LeftOut, Photo, Rules, coco, penn_fudan, soc, via, voc, write_set

app = application(
    "Make a set in the authors' layout (Image/CLASS/NAME.jpg, Mask/CLASS/NAME_InstIDk.png) from a public original."
)

_Reader = Callable[[Rules, LeftOut], Iterable[Photo]]
_Out = Annotated[Path, typer.Option(help="The folder that is to hold the set's folder.", show_default=False)]
_Source = Annotated[Path | None, typer.Option(help="The folder of the original.", show_default=False)]
_Download = Annotated[
    Path | None, typer.Option(help="Download the original to this folder, unless it is there.", show_default=False)
]
_Classes = Annotated[str | None, typer.Option(help="Some of the classes, with commas between them.", show_default="all")]
_MinimumInstances = Annotated[int, typer.Option(help="Of its class that a photo shows at least.")]
_MinimumArea = Annotated[
    float, typer.Option(help="Share of the photo that an instance covers at least; smaller ones get no mask.")
]
_MinimumPhotos = Annotated[int, typer.Option(help="That a class has at least.")]
_Split = Annotated[str, typer.Option(help="Which part of the original.")]
_Json = Annotated[Path, typer.Option(help="The JSON file.", show_default=False)]
_Photos = Annotated[Path, typer.Option(help="The folder in or below which the photos are.", show_default=False)]
_Set = Annotated[str, typer.Option("--set", help="The set's name.")]


@app.command("voc12")
def voc12(
    out: _Out,
    source: _Source = None,
    download: _Download = None,
    classes: _Classes = None,
    split: _Split = voc.SPLIT,
    minimum_instances: _MinimumInstances = 1,
    minimum_area: _MinimumArea = 0.0,
    minimum_photos: _MinimumPhotos = 2,
    set_name: _Set = "VOC12",
) -> None:
    """PASCAL VOC 2012. --source: the folder VOC2012."""
    with one_sentence():
        rules = _rules(classes, split, minimum_instances, minimum_area, minimum_photos)
        folder = _original(source, download, lambda to: fetch("voc12", to) / "VOCdevkit" / "VOC2012")
        _build(lambda rules, left_out: voc.read_voc(folder, rules, left_out), rules, out, set_name, "VOC12")


def _of_coco(kind: str, words: str) -> Callable[..., None]:
    """The command for those of COCO's classes that belong to one of the paper's sets."""

    def command(
        out: _Out,
        source: _Source = None,
        download: _Download = None,
        classes: _Classes = None,
        split: _Split = coco.SPLIT,
        minimum_instances: _MinimumInstances = 1,
        minimum_area: _MinimumArea = 0.0,
        minimum_photos: _MinimumPhotos = 2,
        set_name: _Set = kind,
    ) -> None:
        with one_sentence():
            rules = _rules(classes, split, minimum_instances, minimum_area, minimum_photos)
            _coco(rules, source, download, out, set_name, kind)

    command.__doc__ = f"{words} --source: a folder with annotations and the split's photos."
    return command


app.command("coco-voc")(_of_coco("COCO_VOC", "The classes of COCO that VOC has too."))
app.command("coco-nonvoc")(_of_coco("COCO_NONVOC", "The classes of COCO that VOC does not have."))


@app.command("soc")
def soc_command(
    out: _Out,
    source: Annotated[Path, typer.Option(help="The folder of the original.", show_default=False)],
    classes: _Classes = None,
    split: Annotated[str | None, typer.Option(help="TrainSet, ValSet or TestSet.", show_default="all that are there")] = None,
    minimum_instances: _MinimumInstances = 1,
    minimum_area: _MinimumArea = 0.0,
    minimum_photos: _MinimumPhotos = 2,
    set_name: _Set = "SOC",
) -> None:
    """Salient Objects in Clutter. --source: the folder that holds TrainSet, ValSet or TestSet."""
    with one_sentence():
        rules = _rules(classes, split, minimum_instances, minimum_area, minimum_photos)
        _build(lambda rules, left_out: soc.read_soc(source, rules, left_out), rules, out, set_name, "SOC")


@app.command("penn-fudan")
def penn_fudan_command(
    out: _Out,
    source: _Source = None,
    download: _Download = None,
    minimum_instances: _MinimumInstances = 1,
    minimum_area: _MinimumArea = 0.0,
    set_name: _Set = "PennFudan",
) -> None:
    """Pedestrians of Penn-Fudan. --source: the folder PennFudanPed."""
    with one_sentence():
        rules = _rules(None, None, minimum_instances, minimum_area, 2)
        folder = _original(source, download, lambda to: fetch("penn-fudan", to) / "PennFudanPed")
        _build(lambda rules, left_out: penn_fudan.read_penn_fudan(folder, rules, left_out), rules, out, set_name)


@app.command("coco-json")
def coco_json(
    out: _Out,
    json: _Json,
    photos: _Photos,
    set_name: Annotated[str, typer.Option("--set", help="The set's name.", show_default=False)],
    classes: _Classes = None,
    minimum_instances: _MinimumInstances = 1,
    minimum_area: _MinimumArea = 0.0,
    minimum_photos: _MinimumPhotos = 2,
) -> None:
    """Any JSON file of instances in COCO's form."""
    with one_sentence():
        rules = _rules(classes, None, minimum_instances, minimum_area, minimum_photos)
        _build(lambda rules, left_out: coco.CocoFile(json).read(photos, rules, left_out), rules, out, set_name)


@app.command("via")
def via_command(
    out: _Out,
    json: _Json,
    photos: _Photos,
    set_name: Annotated[str, typer.Option("--set", help="The set's name.", show_default=False)],
    attribute: Annotated[
        str | None, typer.Option(help="Which of the regions' attributes is the class.", show_default="the only one")
    ] = None,
    classes: _Classes = None,
    minimum_instances: _MinimumInstances = 1,
    minimum_area: _MinimumArea = 0.0,
    minimum_photos: _MinimumPhotos = 2,
) -> None:
    """Outlines drawn with the VGG Image Annotator: a project, or exported annotations as JSON."""
    with one_sentence():
        rules = _rules(classes, None, minimum_instances, minimum_area, minimum_photos)
        _build(lambda rules, left_out: via.read_via(json, photos, rules, left_out, attribute), rules, out, set_name)


def _rules(classes: str | None, split: str | None, minimum_instances: int, minimum_area: float, minimum_photos: int) -> Rules:
    return Rules(
        classes=None if classes is None else tuple(name.strip() for name in classes.split(",")),
        split=split,
        minimum_instances=minimum_instances,
        minimum_area=minimum_area,
        minimum_photos=minimum_photos,
    )


def _coco(rules: Rules, source: Path | None, download: Path | None, out: Path, set_name: str, kind: str) -> None:
    if download is not None:
        choice(rules.split, "split", [name.removeprefix("coco-") for name in ARCHIVES if name.endswith("2017")])
    folder = _original(source, download, lambda to: fetch(f"coco-{rules.split}", to))
    if download is None:
        file, folder = coco.read_coco_split(folder, rules)
    else:
        folder = folder / str(rules.split)
        file = coco.CocoFile(fetch("coco-annotations", download) / "annotations" / f"instances_{rules.split}.json")
    of_kind = [name for name in file.classes if (name in coco.VOC_CLASSES) == (kind == "COCO_VOC")]
    rules = rules.model_copy(update={"classes": tuple(sorted(rules.wanted(of_kind)))})
    _build(lambda rules, left_out: file.read(folder, rules, left_out), rules, out, set_name, kind)


def _original(source: Path | None, download: Path | None, get: Callable[[Path], Path]) -> Path:
    """The folder of the original: named, or downloaded."""
    if (source is None) == (download is None):
        came = "neither" if source is None else "both"
        raise DatasetError(f"one of --source, the folder of the original, and --download must be given, got {came}")
    if download is not None:
        return get(download)
    assert source is not None  # one of the two is given
    if not source.is_dir():
        what = "a file" if source.is_file() else "not there"
        raise DatasetError(f"--source must be the folder of the original, got {source}, which is {what}")
    return source


def _build(read: _Reader, rules: Rules, out: Path, set_name: str, kind: str | None = None) -> None:
    left_out = LeftOut()
    built = write_set(read(rules, left_out), rules, out, set_name, left_out)
    for line in built.left_out:
        typer.echo(line, err=True)
    typer.echo(report(built, rules, kind))


def report(built: Built, rules: Rules, kind: str | None = None) -> str:
    """What came out, as text: a row for each class, and the sums beside the paper's.

    Parameters
    ----------
    built : the set.
    rules : by which it was made.
    kind : the paper's set that it stands for; None: none.
    """
    sums = {
        "classes": len(built.counts),
        "images": int(built.counts.photos.sum()),
        "instances": int(built.counts.instances.sum()),
    }
    lines = [f"{built.folder}", "", built.counts.rename_axis("class").reset_index().to_string(index=False), ""]
    if kind is None:
        return "\n".join([*lines, ", ".join(f"{count} {what}" for what, count in sums.items()).replace("images", "photos")])
    paper = paper_results()
    paper = paper[(paper.table == "Table 1") & (paper.set == kind)].set_index("measure").value.astype(int)
    lines.append(f"{'':12}{'this set':>10}{'the paper':>11}")
    lines += [f"{what.replace('images', 'photos'):12}{count:10}{paper[what]:11}" for what, count in sums.items()]
    here = [f"split {rules.split}" if rules.split else "all splits"]
    here += [
        f"at least {rules.minimum_instances} of the class in a photo",
        f"each at least {100 * rules.minimum_area:g} % of it" if rules.minimum_area else "of any size",
    ]
    here += [f"at least {rules.minimum_photos} photos a class"]
    said = "The paper does not say which classes these are, of which split, and by which rule photos were taken. Here: "
    return "\n".join([*lines, "", f"{said}{', '.join(here)}."])
