"""The library's own lines in a notebook, so that what is read there is what runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path

from IPython.display import HTML, display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_ROOT = Path(__file__).parents[1]


def source(thing: Callable | type) -> None:
    """Show the code of a function, a method or a class, without its docstrings, and where it stands.

    Raises ``TypeError`` for what has no Python code of its own.
    """
    code, file, line = lines_of(thing)
    name = getattr(thing, "__qualname__", thing)
    # The colours are written into the page: a style sheet would be lost where only this output is kept.
    shown = highlight(code, PythonLexer(), HtmlFormatter(noclasses=True, nobackground=True))
    where = f"<p><code>{name}</code> in <code>{file}</code>, from line {line}; its docstring: <code>{name}?</code></p>"
    display(
        HTML(
            f'<div style="background:white;color:black;padding:0.3em 0.8em;border-left:3px solid #0072B2">{where}{shown}</div>'
        )
    )


def lines_of(thing: Callable | type) -> tuple[str, str, int]:
    """The code without its docstrings, its file (from the package on), and the number of its first line."""
    inner = inspect.unwrap(thing) if callable(thing) else thing
    try:
        lines, first = inspect.getsourcelines(inner)
        file = Path(inspect.getsourcefile(inner) or "")
    except (TypeError, OSError) as error:
        raise TypeError(f"source takes a function, a method or a class with Python code, got {thing!r}") from error
    text = textwrap.dedent("".join(lines))
    drop = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None and len(node.body) > 1:
            drop |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code = "\n".join(line for number, line in enumerate(text.splitlines(), start=1) if number not in drop)
    name = file.relative_to(_ROOT).as_posix() if file.is_relative_to(_ROOT) else file.name
    return code.strip() + "\n", name, first
