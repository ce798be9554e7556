"""The site: executed notebooks, the library's reference, the glossary, the pages of results, and slides of all figures.

    python -m co3course.run_all notebooks --output results/notebooks      # run them
    python -m co3course.website --executed results/notebooks --output results/site

It is built by Sphinx from a copy of the repository's pages, with every warning an error. Nothing in it is fetched from
elsewhere, and every link within it leads somewhere: that is checked at the end. It can be read from a disk, ``index.html``.
"""

from __future__ import annotations

import argparse
import base64
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat

from co3lib.files import make_folder, path_of, print_anything

from .page import font_style, thumbnail, title_and_purpose, without_kernel
from .run_all import find
from .slides import make_slides, plain

_PAGES = ("README.md", "docs/*.md", "results/*.md", "data/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
_OURS = ".buildinfo"  # which Sphinx leaves in what it has built
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^()\s]+)(?=[)\s])")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
_AUTOMODULE = ("members:", "ignore-module-all:", "show-inheritance:", "exclude-members: model_config")
_INDEX = """# {title}

{first}

```{{raw}} html
<ul class="cards">
{cards}</ul>
```

```{{toctree}}
:hidden:
:caption: Notebooks

{notebooks}
```

```{{toctree}}
:hidden:
:caption: To look up

{pages}
api/index
```
"""
_FIRST = """The notebooks of co3, run in their profile `smoke` on bundled data, the [reference of the library](api/index.rst),
the [glossary and cheat sheet](docs/glossary.md), and what has been [measured](results/README.md). How to install and run all of
it: [README](README.md). For teachers: [plans and grading](docs/teaching.md) and <a href="slides.html">slides of all
figures</a>."""


def make_site(root: Path, executed: Path, output: str | Path, package: str = "co3lib") -> Path:
    """Build the site of the repository at ``root``; returns its ``index.html``.

    Parameters
    ----------
    executed : folder with ``NAME/NAME.ipynb`` for each notebook, as ``co3course.run_all`` leaves them.
    output : folder for the site. An earlier site there is replaced.
    package : in ``root``, of which there is a reference.

    Raises
    ------
    ValueError : if a notebook has not been executed, ``output`` holds something else than a site, Sphinx warns, a link leads
        nowhere, or a page would fetch something from elsewhere.
    """
    output = path_of(output, "output").absolute()
    if output.exists() and not (output.is_dir() and ((output / _OURS).is_file() or not any(output.iterdir()))):
        raise ValueError(f"{output} is in the way: no earlier site was made there; move it or name another folder for output")
    make_folder(output.parent, "output")
    with tempfile.TemporaryDirectory(prefix="site-", dir=output.parent) as folder:
        source, built = Path(folder) / "source", Path(folder) / "built"
        assemble(root, executed, source, package)
        options = ["-b", "html", "-d", str(Path(folder) / "read"), "-q", "-n", "-W", "--keep-going"]
        command = [sys.executable, "-m", "sphinx", *options, str(source), str(built)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))}
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode:
            raise ValueError(f"Sphinx is not content:\n{done.stderr.strip()}".replace(str(source), "."))
        books = [source / path.relative_to(root) for path in find(root / "notebooks") if path.parent.name != "solutions"]
        make_slides([nbformat.read(path, 4) for path in books], built / "slides.html")
        wrong = [*foreign(built), *dead_links(built)]
        if wrong:
            raise ValueError("\n".join(wrong))
        if output.exists():
            shutil.rmtree(output)
        built.rename(output)
    return output / "index.html"


def assemble(root: Path, executed: Path, source: Path, package: str) -> None:
    """Everything that Sphinx reads, in a new folder ``source`` in which files lie as in the repository."""
    shutil.copytree(root / "docs" / "site", source)
    static = source / "_static"
    static.mkdir()
    (source / "site.css").rename(static / "site.css")
    _write(static / "math.css", re.sub("</?style>", "", font_style()))
    pages = [path for pattern in _PAGES for path in sorted(root.glob(pattern))]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        _write(source / path.relative_to(root), _relinked(text, path, root, source))
    cards, books = [], find(root / "notebooks")
    for path in books:
        place = path.relative_to(root)
        book = _executed(path, executed)
        for cell in book.cells:
            if cell.cell_type == "markdown":
                cell.source = _relinked(cell.source, path, root, source)
        _write(source / place, nbformat.writes(book))
        if path.parent.name != "solutions":
            cards.append(_card(book, place, static))
    walk = [path.relative_to(root).with_suffix("").as_posix() for path in books if path.parent.name != "solutions"]
    solutions = [path.stem for path in books if path.parent.name == "solutions"]
    if solutions:
        _write(source / "notebooks" / "solutions" / "index.md", _contents("Solutions of the exercises", solutions))
        walk.append("notebooks/solutions/index")
    names = [path.relative_to(root).with_suffix("").as_posix() for path in pages]
    index = _INDEX.format(
        title="co3: course, library and results",
        first=_FIRST,
        cards="".join(cards),
        notebooks="\n".join(walk),
        pages="\n".join(names),
    )
    _write(source / "index.md", index)
    _write_reference(root / package, source / "api")


def heading_slug(title: str) -> str:
    """The name by which a link reaches a heading, as in JupyterLab."""
    return title.replace(" ", "-")


def foreign(built: Path) -> list[str]:
    """What pages would fetch from elsewhere, each as one line. Links that one may follow are no such thing."""
    lines = []
    for page, read in _read(built):
        lines += [f"{page}: would fetch {url}" for url in read.fetched if re.match(r"(https?:)?//", url)]
    for style in sorted(built.rglob("*.css")):
        found = re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", style.read_text(encoding="utf-8"))
        lines += [f"{style.relative_to(built)}: would fetch {url}" for url in found]
    return lines


def dead_links(built: Path) -> list[str]:
    """Links within the site that lead nowhere: to no file, or to no such place in a page; each as one line."""
    pages = dict(_read(built))
    lines = []
    for page, read in pages.items():
        for url in [*read.links, *read.fetched]:
            name, _, place = url.partition("#")
            if re.match(r"[a-z]+:|//", url):
                continue
            file = Path(os.path.normpath(page.parent / unquote(name.partition("?")[0]))) if name else page
            known = pages[file].places if file in pages else None
            if not (built / file).exists() or (place and known is not None and unquote(place) not in known):
                lines.append(f"{page}: the link {url} leads nowhere")
    return lines


class _Page(HTMLParser):
    """links: where one can go from a page; fetched: what it loads by itself; places: names in it that links can lead to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.places: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("canonical", "index", "search", "next", "prev"):
            self.fetched.append(values.get("href", ""))
        self.fetched += [values["src"] for _ in [0] if "src" in values]
        if "srcdoc" in values:
            self.fetched += _Page(values["srcdoc"]).fetched


def _read(built: Path) -> Iterator[tuple[Path, _Page]]:
    for file in sorted(built.rglob("*.html")):
        yield file.relative_to(built), _Page(file.read_text(encoding="utf-8"))


def _executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The executed notebook of ``path``, without what needs a kernel and without the cell that a runner has added."""
    file = folder / path.stem / path.name
    if not file.is_file():
        raise ValueError(f"{path.name} must be executed first, as by make notebooks; there is no {file}")
    book = without_kernel(nbformat.read(file, 4))
    book.cells = [cell for cell in book.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if [cell.source for cell in book.cells] != [cell.source for cell in nbformat.read(path, 4).cells]:
        raise ValueError(f"{path.name} has changed since it was executed: execute it again, as by make notebooks")
    return book


def _relinked(text: str, path: Path, root: Path, source: Path) -> str:
    """A page's text with links to folders of pages led to their index; other files that it links to are copied."""

    def moved(match: re.Match) -> str:
        name, mark, heading = match[2].partition("#")
        file = Path(os.path.normpath(path.parent / name))
        if not name or ":" in name or not file.is_relative_to(root):
            return match[0]
        if file.is_dir() and list(file.glob("*.ipynb")):
            return f"{match[1]}{name.rstrip('/')}/index.md"
        if file.is_file() and file.suffix not in (".md", ".ipynb"):
            copy = source / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        return f"{match[1]}{name}{mark}{heading}"

    kept = []
    end = 0
    for code in _CODE.finditer(text):
        kept += [_LINK.sub(moved, text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*kept, _LINK.sub(moved, text[end:])])


def _card(book: nbformat.NotebookNode, place: Path, static: Path) -> str:
    title, purpose = title_and_purpose(book)
    picture = thumbnail(book)
    image = ""
    if picture:
        file = static / f"{place.stem}.png"
        file.write_bytes(base64.b64decode(picture[0]))
        image = f'<img src="_static/{file.name}" alt="{picture[1]}" loading="lazy">'
    page = place.with_suffix(".html").as_posix()
    return f'<li>{image}<a href="{page}">{html.escape(plain(title))}</a><p>{html.escape(plain(purpose))}</p></li>\n'


def _write_reference(package: Path, folder: Path) -> None:
    """A page for each public module."""
    names = []
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if any(part.startswith("_") for part in parts):
            continue
        name = ".".join(parts)
        names.append(name)
        options = "".join(f"\n   :{option}" for option in _AUTOMODULE)
        _write(folder / f"{name}.rst", f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}{options}\n")
    title = "The library, module by module\n=============================\n\n"
    _write(folder / "index.rst", f"{title}.. toctree::\n   :maxdepth: 1\n\n   " + "\n   ".join(names) + "\n")


def _contents(title: str, names: Sequence[str]) -> str:
    return "\n".join([f"# {title}", "", "```{toctree}", ":maxdepth: 1", "", *names, "```", ""])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m co3course.website", description="Build the site.")
    parser.add_argument("--root", default=".", help="the checkout")
    parser.add_argument("--executed", required=True, help="folder with the executed notebooks")
    parser.add_argument("--output", required=True, help="folder for the site")
    options = parser.parse_args(arguments)
    print_anything()
    try:
        index = make_site(path_of(options.root, "root").resolve(), path_of(options.executed, "executed"), options.output)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"site: {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
