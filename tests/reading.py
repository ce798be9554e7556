"""What a notebook says, as written and as run: its code, pictures, links and verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import nbformat

STATES = "application/vnd.jupyter.widget-state+json"


def sources(path: Path, kind: str) -> list[str]:
    """The text of a notebook's cells of one kind, "code" or "markdown"."""
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


class Page(HTMLParser):
    """A page's pictures and links. images: the alternative text of each picture, "" where there is none; captions: how many
    figures have one; frames: the titles of figures that are pages of their own; links: where its links lead."""

    def __init__(self, page: str):
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.frames: list[str] = []
        self.captions = 0
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append((values.get("alt") or "").strip())
        self.captions += tag == "figcaption"
        if tag == "iframe":
            self.frames.append((values.get("title") or "").strip())
        self.links += [values[name] for name in ("href", "src") if tag in ("a", "img") and values.get(name)]


def displayed(book: Mapping) -> list[Mapping]:
    """All outputs of an executed notebook, those that widgets hold included."""
    outputs = [one for cell in book["cells"] for one in cell.get("outputs", [])]
    return outputs + [one for state in _widgets(book) for one in state.get("outputs", [])]


def pages(book: Mapping) -> list[str]:
    """All HTML that an executed notebook shows: outputs and the values of HTML widgets."""
    shown = [one["data"]["text/html"] for one in displayed(book) if "text/html" in one.get("data", {})]
    values = [state["value"] for state in _widgets(book) if state.get("_model_name") == "HTMLModel"]
    return ["".join(page) for page in shown] + values


def outside(page: str) -> list[str]:
    """What an HTML page would load from elsewhere."""
    page = re.sub(r"data:[\w/+-]+;base64,[^\"')]*", "", page)
    return re.findall(r"(?:\bsrc=|@import|<link[^>]*?href=|url\()[\s\"'(]*((?:https?:)?//[^\"')\s]+)", page)


def _widgets(book: Mapping) -> Iterator[Mapping]:
    for model in book["metadata"].get("widgets", {}).get(STATES, {}).get("state", {}).values():
        yield model.get("state", {})


def verdicts(book: Mapping) -> dict[str, str]:
    """What the checks of an executed notebook say, by the exercise's number: its state, and the reason if there is one."""
    texts = ["".join(one.get("text", "") or one.get("data", {}).get("text/plain", "")) for one in displayed(book)]
    return dict(re.findall(r"^(?:✓ )?Exercise (\d\d\.\d+): (.*)$", "\n".join(texts), re.M))


def asked(path: Path) -> list[str]:
    """The exercises that a notebook's code checks, in order."""
    return re.findall(r"""\bcheck\(\s*["'](\d\d\.\d+)["']""", "\n".join(sources(path, "code")))


def dead_links(path: Path) -> list[str]:
    """Links and pictures of a notebook's text that lead nowhere: no such file beside it, or no such heading there. Addresses
    on the web are taken to be right if they begin with https://."""
    text = "\n".join(sources(path, "markdown"))
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    targets = re.findall(r"\]\(\s*([^)\s]+)[^)]*\)", text) + re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, re.M) + Page(text).links
    return [target for target in targets if not (target.startswith("https://") or _leads_somewhere(path, target))]


def _leads_somewhere(path: Path, target: str) -> bool:
    name, _, heading = target.partition("#")
    file = path.parent / name if name else path
    if not heading or file.suffix != ".ipynb" or not file.is_file():
        return file.exists()
    headings = re.findall(r"^#+ +(.+?)\s*$", "\n".join(sources(file, "markdown")), re.M)
    return heading in {one.replace(" ", "-") for one in headings}
