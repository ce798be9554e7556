"""``python -m co3lib.datasets build KIND ...``: sets in the authors' layout from public originals."""

from __future__ import annotations

import typer

from ..files import print_anything
from .command import app

commands = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
commands.add_typer(app, name="build")


@commands.callback()
def _commands() -> None:
    """Sets of photos with a mask for each single thing."""


if __name__ == "__main__":
    print_anything()
    commands(prog_name="python -m co3lib.datasets")
