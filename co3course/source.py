"""The library's own lines in a notebook, so that what is read there is what runs."""

from __future__ import annotations

import ast
import html
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path

from IPython.display import display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_ROOT = Path(__file__).parents[1]
_BOX = "background:white;color:black;padding:0.3em 0.8em;border-left:3px solid #0072B2"
_NUMBER = '<span aria-hidden="true" style="color:#767676;user-select:none">{:4}  </span>'


def source(thing: Callable | type) -> None:
    """Show the code of a function, a method or a class, without its docstrings, with file and line numbers.

    Raises ``TypeError`` for what has no Python code of its own.
    """
    file, lines = lines_of(thing)
    name = getattr(thing, "__qualname__", str(thing))
    text = "\n".join(lines.values())
    # Colours are written into each word: a style sheet would be lost where only this output is kept.
    colored = highlight(text, PythonLexer(stripnl=False), HtmlFormatter(noclasses=True, nowrap=True)).rstrip("\n").split("\n")
    shown = "\n".join(_NUMBER.format(number) + line for number, line in zip(lines, colored, strict=True))
    span = f"lines {min(lines)} to {max(lines)}, docstrings left out"
    where = f"<div><code>{html.escape(name)}</code> in <code>{file}</code>, {span}</div>"
    page = f'<div class="co3-source" style="{_BOX}">{where}<pre style="color:black;line-height:1.35">{shown}</pre></div>'
    display({"text/html": page, "text/plain": f"{file}\n{text}"}, raw=True)


def lines_of(thing: Callable | type) -> tuple[str, dict[int, str]]:
    """The file, from the package on, and the lines of code without docstrings, by their numbers there."""
    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(thing) if callable(thing) else thing)
        file = Path(inspect.getsourcefile(inspect.unwrap(thing)) or "")
    except (TypeError, OSError) as error:
        raise TypeError(f"source takes a function, a method or a class with Python code, got {thing!r}") from error
    text = textwrap.dedent("".join(lines))
    drop: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            drop |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    kept = {first + number: line for number, line in enumerate(text.splitlines()) if number + 1 not in drop}
    numbers = [number for number, line in kept.items() if line.strip()]
    name = file.relative_to(_ROOT).as_posix() if file.is_relative_to(_ROOT) else file.name
    return name, {number: line for number, line in kept.items() if numbers[0] <= number <= numbers[-1]}
