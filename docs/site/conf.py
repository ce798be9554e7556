"""Sphinx's settings for the site, which ``python -m co3course.website`` builds. Nothing of a page comes from elsewhere."""

import re

from co3course.page import with_mathml

project = "co3"
author = copyright = "the co3 authors"
html_title = "co3"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css", "math.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True, "footer_icons": []}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
exclude_patterns = ["_static"]

# Notebooks come executed; widgets need a kernel, and in their places are pictures.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_heading_slug_func = "co3course.website.heading_slug"  # as JupyterLab makes them
myst_update_mathjax = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
# Types of other libraries, whose pages are on the web, and what a signature leaves open.
nitpick_ignore_regex = [("py:.*", r"(?!co3lib\.).*|.*\._\w+")]
html_math_renderer = "mathml"


def _in_line(self, node) -> None:
    from docutils import nodes

    self.body.append(with_mathml(f"${node.astext()}$"))
    raise nodes.SkipNode


def _on_its_own(self, node) -> None:
    from docutils import nodes

    self.body.append(f'<div class="math">{with_mathml(f"$${node.astext()}$$")}</div>')
    raise nodes.SkipNode


def _settings_as_they_are(app, what, name, thing, options, lines: list[str]) -> None:
    """The list of settings and their defaults, which is made for reading in a console."""
    if name.endswith(".CoSegConfig"):
        end = lines.index("")
        lines[end:] = ["", "All settings and their defaults::", "", *(f"    {line}" for line in lines[end:]), ""]


def _described_below(app, what, name, thing, options, lines: list[str]) -> None:
    """``name : what it is`` with what it is on a line of its own, or else it would be taken for a type, and what is returned as
    a sentence."""
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # an empty comment: what stands before a colon in the first line would be taken for a type
        return
    section, done = "", []
    for k, line in enumerate(lines):
        if set(lines[k + 1 : k + 2]) & {"-" * len(line)} and line:
            section = line
        named = re.fullmatch(r"([*\w][*\w, ]*) : (.*)", line)
        if section in ("Parameters", "Attributes", "Raises") and named:
            done += [named[1], f"    {named[2]}"]
        elif section == "Returns" and line and line != section and set(line) != {"-"}:
            begun = done[-1].startswith((":returns:", "          "))
            done += [f"          {line}"] if begun else ["", "", f":returns: {line}"]  # two empty lines end the section before
        elif section != "Returns" or not line:
            done.append(line)
    lines[:] = done


def _without_fields(app, what, name, thing, options, signature, returns) -> tuple[str | None, str | None] | None:
    """The fields of settings are listed below their class, with their meaning."""
    return ("", None) if what == "class" and hasattr(thing, "model_fields") else None


def setup(app) -> None:
    """Formulas as MathML, which browsers draw by themselves."""
    app.connect("autodoc-process-signature", _without_fields)
    app.connect("autodoc-process-docstring", _settings_as_they_are, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", _described_below, priority=401)
    app.add_html_math_renderer("mathml", (_in_line, None), (_on_its_own, None))
