"""An executed notebook as one HTML file that loads nothing from elsewhere.

nbconvert's own pages fetch MathJax, require.js and the widgets' code from the web. Here formulas become MathML, which browsers
draw by themselves, and of a widget, which needs a kernel to answer, the first picture is shown.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

WIDGET = "application/vnd.jupyter.widget-view+json"

_TEMPLATE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
# Code, which is left as it is, then formulas on a line of their own, then those in a line.
_FORMULAS = re.compile(r"```.*?```|`[^`\n]*`|\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<line>[^$`]+?)\$(?!\d)", re.S)


def to_html(executed: Path) -> str:
    """An executed notebook as one self-contained HTML page."""
    exporter = _Exporter(raw_template=_TEMPLATE)
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    return exporter.from_notebook_node(_without_kernel(nbformat.read(executed, 4)), {"metadata": {"name": executed.stem}})[0]


def with_mathml(markdown: str) -> str:
    """Markdown with its formulas, ``$...$`` and ``$$...$$``, as MathML; ``ValueError`` for a formula that cannot be read."""
    return _FORMULAS.sub(_formula, markdown)


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
    try:
        mathml = convert(" ".join(latex.split()), display="block" if match["block"] else "inline")
    except Exception as error:
        raise ValueError(f"formula {latex!r} cannot be made MathML of: {error}") from error
    # What is left of Markdown's own signs in it would be read as such.
    return re.sub(r">[^<]+<", lambda text: re.sub(r"[*_`\[\]|~\\]", lambda sign: f"&#{ord(sign[0])};", text[0]), mathml)


def _without_kernel(book: Mapping) -> Mapping:
    """The notebook with each widget's picture, which stands beside it among its outputs, in its place."""
    book["metadata"].pop("widgets", None)
    for cell in book["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if data.pop(WIDGET, None) and "text/html" not in data:
                data["text/html"] = f"<p>{html.escape(data.get('text/plain', 'A widget'))}: run the notebook to see it.</p>"
    return book
