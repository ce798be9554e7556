"""Tables in Markdown, for reports and pages of results."""

from __future__ import annotations

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, its index as first columns; a bar in a name does not end a cell."""
    flat = table.reset_index()
    names = [" ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name) for name in flat.columns]
    lines = [names, ["---"] * len(names), *flat.itertuples(index=False)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
