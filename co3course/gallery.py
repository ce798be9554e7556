"""All notebooks, run one after another, and a gallery of their pages.

    python -m co3course.gallery notebooks --output results/notebooks              # run them, and say how long each took
    python -m co3course.gallery notebooks --output results/notebooks --pages results/gallery     # and make pages of them

A notebook that fails does not keep the others from being run; the exit code says at the end whether all is well.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from co3lib.files import make_folder, path_of, print_anything, write_text

from .headless import spare_grammar
from .runner import PAGE, NotebookError, run_notebook

_THUMBNAIL = 320  # pixels, the longer side
_PAGE = '<meta name="generator" content="co3course.gallery">'
_PICTURE = re.compile(r'<img[^>]*?src="data:image/png;base64,([^"]+)"[^>]*?alt="([^"]*)"', re.S)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
ul { list-style: none; padding: 0 } li { display: flex; gap: 1.5rem; margin: 2rem 0 } li > div { flex: 1 }
img { width: 16rem; height: 12rem; object-fit: contain; object-position: top } h2 { margin: 0 } a { color: #0050a0 }
"""


@dataclass(frozen=True)
class NotebookRun:
    """A notebook that was run: its file, the seconds from start to end, the executed notebook, and why it failed, if so."""

    path: Path
    seconds: float
    executed: Path
    failure: str = ""


def find(folder: Path) -> list[Path]:
    """The notebooks of a folder, and the solutions after them."""
    found = [*sorted(folder.glob("*.ipynb")), *sorted((folder / "solutions").glob("*.ipynb"))]
    return [path for path in found if path.name[0] != "."]


def run_all(paths: Sequence[Path], output: Path) -> Iterator[NotebookRun]:
    """Run notebooks in the profile "smoke", each into a folder of its name in ``output``."""
    for path in paths:
        started, folder, failure = time.perf_counter(), output / path.stem, ""
        try:
            run_notebook(path, folder, {"profile": "smoke"})
        except (ValueError, NotebookError, OSError) as error:
            failure = str(error)
        yield NotebookRun(path, time.perf_counter() - started, folder / path.name, failure)


def make_gallery(runs: Sequence[NotebookRun], folder: Path) -> None:
    """Pages of the notebooks that ran, solutions in a folder of theirs, and ``index.html`` with a picture, the title, the
    purpose and the seconds of each. Pages of an earlier gallery are removed; ``ValueError`` for any other in the way."""
    folder = check_pages([run.path for run in runs], folder)
    good = [run for run in runs if not run.failure]
    pages = {run.path.resolve(): folder.resolve() / _page(run.path) for run in good}
    for earlier in _earlier(folder):
        if earlier.resolve() not in pages.values():
            earlier.unlink()
    from .page import font_style

    entries = []
    for run in good:
        page = folder / _page(run.path)
        text = run.executed.with_suffix(".html").read_text(encoding="utf-8").replace(PAGE, _PAGE, 1)
        write_text(page, _relink(text, run.path.resolve().parent, page.resolve().parent, pages))
        if page.parent == folder:
            entries.append(_entry(run, page.name))
    head = f'{_PAGE}<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    body = f"<h1>The notebooks of co3</h1><p>As run in the profile smoke, on bundled data.</p><ul>{''.join(entries)}</ul>"
    if "<math" in body:
        head += font_style()
    index = f'<!doctype html><html lang="en"><head>{head}<title>co3: gallery</title></head><body>{body}</body></html>'
    write_text(folder / "index.html", index)


def check_pages(paths: Sequence[Path], folder: str | Path) -> Path:
    """The folder for a gallery of these notebooks; ``ValueError`` if nothing can be written to it, notebooks lie in it, or
    pages that are not of an earlier gallery are in the way."""
    folder = _apart(paths, folder, "pages")
    ours = set(_earlier(folder))
    for page in (folder / "index.html", *(folder / _page(path) for path in paths)):
        if os.path.lexists(page) and page not in ours:
            raise ValueError(f"{page} is in the way: no earlier gallery has made it; move it or name another folder for pages")
    return folder


def _apart(paths: Sequence[Path], folder: str | Path, name: str) -> Path:
    folder = make_folder(folder, name)
    if any(folder.samefile(path.absolute().parent) for path in paths):
        raise ValueError(f"{name} must be another folder than the notebooks' own, got {folder}")
    return folder


def _earlier(folder: Path) -> list[Path]:
    found = [*folder.glob("*.html"), *(folder / "solutions").glob("*.html")]
    return [page for page in found if _PAGE in page.read_text(encoding="utf-8", errors="replace")]


def _page(path: Path) -> Path:
    return Path("solutions" if path.parent.name == "solutions" else "", f"{path.stem}.html")


def _entry(run: NotebookRun, page: str) -> str:
    from nbconvert.filters import markdown2html

    from .page import with_mathml

    book = json.loads(run.executed.read_text(encoding="utf-8"))
    title, purpose = title_and_purpose(book)
    picture = thumbnail(book)
    image = '<img src="data:image/png;base64,{}" alt="{}">'.format(*picture) if picture else ""
    heading = f'<h2><a href="{page}">{html.escape(title)}</a></h2>'
    return f"<li>{image}<div>{heading}{markdown2html(with_mathml(purpose))}<p>{run.seconds:.0f} s</p></div></li>\n"


def title_and_purpose(book: Mapping) -> tuple[str, str]:
    """A notebook's first heading, and the paragraph under it as Markdown."""
    text = next("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "markdown")
    title, _, rest = text.strip().partition("\n")
    return title.lstrip("# ").strip(), rest.strip().partition("\n\n")[0]


def thumbnail(book: Mapping) -> tuple[str, str] | None:
    """A notebook's largest figure made small, as base64 of a PNG, and its alternative text, still escaped; None if it has
    no figure."""
    from PIL import Image

    outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    text = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    found = [(Image.open(io.BytesIO(base64.b64decode(data))), alt) for data, alt in _PICTURE.findall(text)]
    if not found:
        return None
    image, alt = max(found, key=lambda figure: figure[0].width * figure[0].height)
    image = image.convert("RGB")
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    file = io.BytesIO()
    image.save(file, format="png")
    return base64.b64encode(file.getvalue()).decode(), alt


def _relink(text: str, source: Path, target: Path, pages: Mapping[Path, Path]) -> str:
    # A page lies elsewhere than its notebook: links to notebooks become links to their pages, others go the longer way.
    def moved(match: re.Match) -> str:
        name, mark, heading = match[1].partition("#")
        file = Path(os.path.normpath(source / name))
        if ":" in name or not name or not file.exists():
            return match[0]
        return f'<a href="{Path(os.path.relpath(pages.get(file, file), target)).as_posix()}{mark}{heading}"'

    return re.sub(r'<a href="([^"]*)"', moved, text)


def table(runs: Sequence[NotebookRun]) -> str:
    """What came of each notebook: its seconds, its name, and "failed" where it did."""
    lines = [f"{run.seconds:7.1f} s  {run.path.stem}{'  FAILED' if run.failure else ''}" for run in runs]
    return "\n".join([*lines, f"{sum(run.seconds for run in runs):7.1f} s  together"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m co3course.gallery", description="Run all notebooks of a folder.")
    parser.add_argument("notebooks")
    parser.add_argument("--output", required=True, help="folder for what the notebooks leave")
    parser.add_argument("--pages", help="folder for a gallery of their pages")
    options = parser.parse_args(arguments)
    print_anything()
    spare_grammar()
    runs = []
    try:
        paths = find(path_of(options.notebooks, "notebooks"))
        if not paths:
            raise ValueError(f"{options.notebooks} must be a folder with notebooks, got one with none")
        output = _apart(paths, options.output, "output")
        pages = None if options.pages is None else check_pages(paths, options.pages)
        for number, run in enumerate(run_all(paths, output), start=1):
            runs.append(run)
            print(f"{number}/{len(paths)} {run.path.stem}: {run.failure or f'{run.seconds:.1f} s'}", flush=True)
        if pages:
            make_gallery(runs, pages)
            print(f"gallery: {pages / 'index.html'}")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(runs))
    return int(any(run.failure for run in runs))


if __name__ == "__main__":
    sys.exit(main())
