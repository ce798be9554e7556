"""A folder of one's own photos: masks, overlays, a COCO data set and a contact sheet.

While it runs, ``OUT/.work`` keeps the training and what was found in each photo, so that the same command goes on where it was
stopped; at the end all results are put in place together.
"""

from __future__ import annotations

import hashlib
import html
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from tqdm import tqdm

from co3lib.config import CoSegConfig
from co3lib.datasets.export import PhotoResult, overlay_names, read_coco, write_coco, write_overlay
from co3lib.datasets.images import ImageError, read_image
from co3lib.datasets.layout import list_photos
from co3lib.files import aside, make_folder, path_of, remove, write_text
from co3lib.instance import Instance, shown
from co3lib.segmentation import CoSegmenter
from co3lib.selection import without_noise

_WORK, _RUN, _PAGE = ".work", "run.json", "index.html"
_LONGEST = 480  # pixels of a photo on the contact sheet
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#111;background:#fff;margin:2rem}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(18rem,1fr));gap:1.5rem}"
    "figure{margin:0}img{width:100%;height:16rem;object-fit:contain;background:#eee}figcaption{overflow-wrap:anywhere}"
)


def segment_folder(
    photos: str | Path,
    output: str | Path,
    config: CoSegConfig,
    category: str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
    device: str | None = None,
) -> Path:
    """Find the instances in a folder's photos and write them.

    ``OUT`` gets ``index.html``, the contact sheet; ``overlays/``, each photo with what is shown; ``masks/``, a PNG for each
    instance that is shown, named ``<photo>_InstID<k>.png``; and COCO's files of all that was found (``export.write_coco``).

    Parameters
    ----------
    photos : the folder.
    output : the folder of the results; must not be there yet, unless this command has made it from the same photos.
    config : the settings.
    category : what the photos share, for the files; None: the folder's name.
    progress : whether bars show the progress.
    say : takes sentences for the user.
    device : as for ``co3lib.device.device_of``.

    Returns
    -------
    The contact sheet.

    Raises
    ------
    ValueError : for a folder with fewer than two photos that can be read, and an ``output`` that holds something else.
    """
    folder, output = path_of(photos, "PHOTOS"), path_of(output, "--out")
    digests = _readable(folder, progress, say)
    paths = list(digests)
    run = {"photos": {path.name: digest for path, digest in digests.items()}, "config": config.model_dump(mode="json")}
    run["category"] = category or folder.resolve().name or "things"
    if _is_finished(output, run):
        say(f"Finished before; nothing to do: {output / _PAGE}")
        return output / _PAGE
    work = make_folder(output / _WORK, "--out")
    write_text(output / _RUN, json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    results = _find(paths, run["category"], config, work, progress, device)
    _write(output, paths, results, progress)
    remove(work)
    drawn = shown([photo.instances for photo in results])
    say(f"{sum(map(len, drawn))} instances shown in {len(paths)} photos: {output / _PAGE}")
    return output / _PAGE


def _readable(folder: Path, progress: bool, say) -> dict[Path, str]:
    """The photos that can be read, each once, and the digests of their files."""
    if not folder.is_dir():
        raise ValueError(
            f"PHOTOS must be a folder with photos, got {folder}, which is {'a file' if folder.exists() else 'not there'}"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        listed = list_photos(folder)
    for warning in caught:
        say(str(warning.message)[:1].upper() + str(warning.message)[1:])
    found: dict[str, Path] = {}
    for path in tqdm(listed, disable=not progress, desc="checking", unit="photo"):
        try:
            read_image(path)
        except ImageError as error:
            say(f"Left out: {error}")
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if (first := found.setdefault(digest, path)) != path:
            say(f"Left out: {path.name} is the same file as {first.name}")
    if len(found) < 2:
        raise ValueError(f"PHOTOS must hold at least two photos that can be read, got {len(found)} in {folder}")
    return {path: digest for digest, path in found.items()}


def _is_finished(output: Path, run: dict) -> bool:
    """Whether the results are there; an error if something else is."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    try:
        earlier = json.loads((output / _RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if output.is_dir() and {path.name for path in output.iterdir()} <= {_WORK}:
            return False  # stopped before its first file
        raise ValueError(f"--out must be a new folder, got {output}, which holds something else") from error
    if earlier != run:
        differing = ", ".join(name for name in run if earlier.get(name) != run[name])
        raise ValueError(f"--out must be a new folder, got {output}, whose results are of other {differing}")
    return (output / _PAGE).is_file()


def _find(paths: Sequence[Path], category: str, config: CoSegConfig, work: Path, progress: bool, device) -> list[PhotoResult]:
    """What is found in every photo. The fitted network, and the instances of each photo before the noise filter, are kept."""
    fitted = work / "fitted.safetensors"
    if fitted.is_file():
        segmenter = CoSegmenter.load(fitted, device)
    else:
        segmenter = CoSegmenter(config, device).fit(paths, checkpoint=work / "training.safetensors", progress=progress)
        segmenter.save(fitted)
    results = []
    for k, path in enumerate(tqdm(paths, disable=not progress, desc="segmenting", unit="photo")):
        kept = work / f"photo_{k}"
        if not kept.is_dir():
            found = segmenter.segment_photo(path)
            with aside(kept) as part:
                write_coco(part, [PhotoResult(path.name, category, read_image(path).shape[:2], found)])
        results += read_coco(kept)
    for photo, instances in zip(results, without_noise([photo.instances for photo in results], config), strict=True):
        photo.instances = instances
    return results


def _write(output: Path, paths: Sequence[Path], results: Sequence[PhotoResult], progress: bool) -> None:
    drawn = shown([photo.instances for photo in results])
    kept = [PhotoResult(photo.name, photo.category, photo.size, some) for photo, some in zip(results, drawn, strict=True)]
    names = overlay_names(kept)
    figures = []
    with aside(output / "overlays") as overlays, aside(output / "masks") as masks:
        masks.mkdir()
        bar = tqdm(zip(names, paths, drawn, strict=True), total=len(paths), disable=not progress, desc="writing", unit="photo")
        for name, path, instances in bar:
            write_overlay(overlays / name, read_image(path), instances, labels=True)
            for number, instance in enumerate(instances, start=1):
                # The photo's whole name where another has the same without its ending, as the overlay's.
                place = masks / f"{name.removesuffix('.png')}_InstID{number}.png"
                place.parent.mkdir(exist_ok=True)
                Image.fromarray(instance.mask).save(place)
            figures.append(_figure(f"overlays/{name}", path.name, instances))
        write_coco(output, results)
    title = html.escape(results[0].category)
    total = sum(map(len, drawn))
    write_text(
        output / _PAGE,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{total} instances in {len(paths)} photos. A label is an instance's score, which compares "
        "instances of these photos. Every pixel belongs to one instance at most.</p>"
        f"<main>{''.join(figures)}</main></body></html>\n",
    )


def _figure(picture: str, name: str, instances: Sequence[Instance]) -> str:
    count = len(instances)
    words = f"{html.escape(name)}: {count} instance{'' if count == 1 else 's'}"
    return (
        f'<figure><a href="{quote(picture)}"><img loading="lazy" src="{quote(picture)}" alt="{words}"></a>'
        f"<figcaption>{words}</figcaption></figure>"
    )
