"""A table of experiments as a YAML file: its rows, its sets, and the published table that it stands beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from co3lib.beyond.methods import METHODS
from co3lib.checks import choice
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample, demo_set, read_set
from co3lib.datasets.bundled import DEMO_SETS
from co3lib.experiment import Experiment
from co3lib.files import packaged, path_of
from co3lib.paper import paper_results

TABLES = ("table2", "table3", "table4", "figure4", "light")
"""The tables that come with the library, in ``data/tables``."""

Ready = Literal["where there", "always", "never"]
_EVERY = "all"  # in place of the names of sets: each one that is there


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Row(_Strict):
    """A row: one method under one configuration."""

    paper: str | None = None
    """The method's name in the published table, whose numbers are put beside it."""
    method: str = "deepco3"
    """One of ``methods.METHODS``."""
    preset: Literal["default", "released", "published"] = "default"
    """``CoSegConfig()``, ``CoSegConfig.released()`` or ``CoSegConfig.published()``."""
    config: dict[str, Any] = {}
    """Settings of ``CoSegConfig`` that differ from the preset's."""
    ready_priors: Ready = "where there"
    """Whether a set's own saliency priors are used: where all photos of a class have them, always, or never."""
    ready_proposals: Ready = "where there"
    """The same of proposals."""

    @model_validator(mode="after")
    def _can_be_run(self) -> Row:
        choice(self.method, "method", METHODS)
        self.settings()
        return self

    def settings(self) -> CoSegConfig:
        """The row's configuration."""
        return CoSegConfig.preset(self.preset, **self.config)


class Table(_Strict):
    """A table: rows that are run on the same classes with the same seeds."""

    title: Annotated[str, Field(min_length=1)]
    paper: Literal["Table 2", "Table 3", "Table 4", "Figure 4"] | None = None
    """The published table whose numbers are put beside ours."""
    sets: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] = _EVERY
    """The names of the sets, those of the bundled ones included; "all": each set that is there, and the bundled ones."""
    classes: tuple[str, ...] | None = None
    """Some of the categories; none: all."""
    photos: Annotated[int, Field(ge=2)] | None = None
    """At most so many of each category, the first by name; none: all."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    measures: Annotated[tuple[Literal["AP25", "AP50", "AP75", "CorLoc"], ...], Field(min_length=1)] = ("AP25", "AP50")
    defaults: dict[str, Any] = {}
    """What all rows have in common, in the words of a row; a row's own settings come on top."""
    rows: Annotated[dict[str, Row], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _rows_with_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("rows"), dict):
            return values
        common = values.get("defaults") or {}
        rows = {}
        for name, row in values["rows"].items():
            row = {} if row is None else row
            if isinstance(row, dict) and isinstance(common, dict):
                parts = [part for part in (common.get("config"), row.get("config")) if part is not None]
                row = {**common, **row}
                if parts and all(isinstance(part, dict) for part in parts):  # anything else is refused as it is
                    row["config"] = {key: value for part in parts for key, value in part.items()}
            rows[str(name)] = row
        return {**values, "rows": rows}

    @model_validator(mode="after")
    def _rows_of_the_paper(self) -> Table:
        known = list(published_table(self.paper)["method"].unique()) if self.paper else []
        for name, row in self.rows.items():
            if row.paper is not None and row.paper not in known:
                where = self.paper or "no published table"
                raise ValueError(f"rows.{name}.paper must be a method of {where} ({', '.join(known)}), got {row.paper!r}")
        return self


def published_table(name: str):
    """The published numbers of a table, a row each, as ``paper.paper_results`` gives them."""
    rows = paper_results()
    return rows[rows.table == name]


def read_table(name: str | Path) -> tuple[str, Table]:
    """A table and its name.

    Parameters
    ----------
    name : one of ``TABLES``, or a YAML file.

    Raises
    ------
    ValueError : naming the file and what is wrong in it.
    """
    path = packaged(f"tables/{name}.yaml") if str(name) in TABLES else path_of(name, "TABLE")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"TABLE must be one of {', '.join(TABLES)} or a YAML file, got {name}, which cannot be read"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be YAML, got something else: {' '.join(str(error).split())}") from error
    try:
        return path.stem, Table.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{path}: {where + ': ' if where else ''}{said}, got {first['input']!r:.100}") from error


def find_sets(
    table: Table, root: Path | None, names: Sequence[str] = ()
) -> tuple[dict[str, dict[str, list[Sample]]], list[str]]:
    """The sets that a table is run on.

    Parameters
    ----------
    table : names them, unless ``names`` do.
    root : the folder with sets in the authors' layout; None: only the bundled ones.
    names : sets, or "all".

    Returns
    -------
    found : the set's name -> category -> samples.
    absent : the names of those that are not there.

    Raises
    ------
    ValueError : if not a single one is there, and as ``read_set``.
    """
    there = sorted(path.parent.name for path in root.glob("*/Image") if path.is_dir()) if root is not None else []
    wanted = list(names) or ([_EVERY] if table.sets == _EVERY else list(table.sets))
    if _EVERY in wanted:
        wanted = [*there, *DEMO_SETS]
    known = {*there, *DEMO_SETS}
    absent = [name for name in wanted if name not in known]
    if len(absent) == len(wanted):
        place = f"{root} has {', '.join(there) or 'none'}" if root is not None else "no --root was given"
        raise ValueError(
            f"none of the sets {', '.join(wanted)} is there: {place}; name others with --set, or make one with `co3 build`"
        )
    found = {}
    for name in dict.fromkeys(wanted):
        if name in known:
            every = read_set(root, name) if root is not None and name in there else demo_set(name)
            found[name] = {key: some for key, some in every.items() if table.classes is None or key in table.classes}
    for category in table.classes or ():
        if not any(category in classes for classes in found.values()):
            raise ValueError(f"no set has a class {category}, got the sets {', '.join(found)}")
    return found, absent


def experiment_of(table: Table, row: Row, root: Path | None, set_name: str, samples: Sequence[Sample], seed: int) -> Experiment:
    """One class of one set under one row, with one seed.

    Parameters
    ----------
    table, row : the table and its row.
    root : the folder with the set, None for a bundled one.
    set_name, samples : the set's name and the class's photos.
    seed : the run's seed.

    Raises
    ------
    ValueError : for ready-made priors or proposals that must be there and are not.
    """
    used = samples[: table.photos]
    ready = {}
    for kind in ("prior", "proposals"):
        wanted = getattr(row, f"ready_{kind.rstrip('s')}s")
        there = all(getattr(sample, f"{kind}_path") is not None for sample in used)
        if wanted == "always" and not there:
            raise ValueError(f"ready_{kind.rstrip('s')}s must be there for {set_name}/{samples[0].category}, and are not")
        ready[f"ready_{kind.rstrip('s')}s"] = there and wanted != "never"
    return Experiment(
        root=root,
        set=set_name,
        classes=(samples[0].category,),
        photos=table.photos,
        method=row.method,
        config=row.settings(),
        seeds=(seed,),
        **ready,
    )
