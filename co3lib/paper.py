"""The numbers that the paper prints, to put beside one's own."""

from __future__ import annotations

import pandas as pd

from .checks import choice
from .files import packaged

PAPER = packaged("paper_results.csv")


def paper_results() -> pd.DataFrame:
    """Every number of the paper's Tables 1 to 4 and Figure 4, one a row: table, method, set, measure, value, note."""
    return pd.read_csv(PAPER, comment="#", keep_default_na=False)


def published(set_name: str, method: str = "DeepCO3") -> dict[str, float]:
    """The paper's row of a method on a set (Tables 2 and 4).

    Parameters
    ----------
    set_name : the set's name in the paper.
    method : the method's name in the paper.

    Returns
    -------
    Measure -> percent; empty for a set that is not in them.

    Raises
    ------
    ValueError : for a method that is not in them.
    """
    rows = paper_results()
    rows = rows[rows.table.isin(["Table 2", "Table 4"])]
    choice(method, "method", list(rows.method.unique()))
    rows = rows[(rows.method == method) & (rows.set == set_name)]
    return dict(zip(rows.measure, rows.value, strict=True))
