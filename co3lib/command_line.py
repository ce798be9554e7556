"""What the commands have in common: plain help, and an expected error as one sentence, with exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError


def application(words: str) -> typer.Typer:
    """A command with subcommands, in plain text: without arguments it prints its help. words: the first line of that."""
    return typer.Typer(
        help=words, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )


@contextmanager
def one_sentence() -> Iterator[None]:
    """A context in which what goes wrong ends the command with one sentence; Ctrl-C with what to do next, and exit code 130."""
    try:
        yield
    except (ValueError, OSError) as error:  # a ValidationError is a ValueError
        typer.echo(sentence(error), err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on where it was.", err=True)
        raise typer.Exit(130) from None


def sentence(error: Exception) -> str:
    """What went wrong, as one sentence."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        return f"{'.'.join(map(str, first['loc']))}: {said}, got {first['input']!r:.100}"
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
