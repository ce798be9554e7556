"""An executed notebook as one HTML file that loads nothing from elsewhere.

nbconvert's own pages fetch MathJax, require.js and the widgets' code from the web. Here formulas become MathML, which browsers
draw by themselves, with a font that is in the page (few have one of their own that knows how formulas are set). Of a widget,
which needs a kernel to answer, the first picture is shown.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

WIDGET = "application/vnd.jupyter.widget-view+json"
STATES = "application/vnd.jupyter.widget-state+json"

_TEMPLATE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
# Code, which is left as it is, then formulas on a line of their own, then those in a line.
_FORMULAS = re.compile(r"```.*?```|`[^`\n]*`|\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<line>[^$`]+?)\$(?!\d)", re.S)
# What latex2mathml does not know, in words that it knows.
_SPELLINGS = ((r"\\arg\s*\\(max|min)(?![a-z])", r"\\mathrm{arg\\,\1}"), (r"\\tag\{([^{}]*)\}", r"\\qquad (\1)"))
_THUMBNAIL = 320  # pixels, the longer side
_PICTURE = re.compile(r'<img[^>]*?src="data:image/png;base64,([^"]+)"[^>]*?alt="([^"]*)"', re.S)
_FONT = Path(__file__).with_name("math.woff")
_FONT_STYLE = (
    "<style>@font-face {{ font-family: co3math; src: url(data:font/woff;base64,{}) }}"
    " math {{ font-family: co3math, math; font-size: 1.1em }}</style>"
)


def to_html(executed: Path) -> str:
    """An executed notebook as one self-contained HTML page."""
    exporter = _Exporter(raw_template=_TEMPLATE)
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    book = without_kernel(nbformat.read(executed, 4))
    page = exporter.from_notebook_node(book, {"metadata": {"name": executed.stem}})[0]
    return page.replace("</head>", f"{font_style()}</head>", 1) if "<math" in page else page


def font_style() -> str:
    """The style of formulas, its font included, for the head of a page that has some."""
    return _FONT_STYLE.format(base64.b64encode(_FONT.read_bytes()).decode())


def with_mathml(markdown: str) -> str:
    """Markdown with its formulas, ``$...$`` and ``$$...$$``, as MathML; one that cannot be read is shown as it is written."""
    return _FORMULAS.sub(_formula, markdown)


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


class _Exporter(HTMLExporter):
    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", self._markdown

    def _markdown(self, context, source: str) -> str:
        return self.markdown2html(context, with_mathml(source))

    _markdown.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg  # type: ignore[attr-defined]


def _formula(match: re.Match) -> str:
    from latex2mathml.converter import convert

    latex = match["block"] or match["line"]
    if latex is None:
        return match[0]
    known = " ".join(latex.split())
    for unknown, spelling in _SPELLINGS:
        known = re.sub(unknown, spelling, known)
    try:
        mathml = convert(known, display="block" if match["block"] else "inline")
    except Exception:  # latex2mathml's own, and others where it does not expect what it reads
        mathml = ""
    if not mathml or re.search(r">\s*(\\|&#92;)[A-Za-z]", mathml):
        return f"<code>{html.escape(latex)}</code>"
    # What is left of Markdown's own signs in it would be read as such.
    return re.sub(r">[^<]+<", lambda text: re.sub(r"[*_`\[\]|~\\]", lambda sign: f"&#{ord(sign[0])};", text[0]), mathml)


def without_kernel(book: Mapping) -> Mapping:
    """The notebook with what a widget shows, as far as it can be shown without a kernel, in its place: HTML that stands beside
    it among its outputs, or else that in its saved state."""
    saved = book["metadata"].pop("widgets", {}).get(STATES, {}).get("state", {})
    for cell in book["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            view = data.pop(WIDGET, None)
            if view and "text/html" not in data:
                data["text/html"] = "".join(_shown(saved, view["model_id"])) or "<p>Run the notebook to see this.</p>"
    return book


def _shown(saved: Mapping, model: str) -> Iterator[str]:
    """The HTML that a widget and those inside it show."""
    state = saved.get(model, {}).get("state", {})
    if state.get("_model_name") == "HTMLModel":
        yield f"<div>{state.get('value', '')}</div>"
    for child in state.get("children", []):
        yield from _shown(saved, str(child).removeprefix("IPY_MODEL_"))
