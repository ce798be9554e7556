"""The benchmarks' tables: what is averaged over what, and that a page keeps what was written by hand."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import past_the_paper as page
from measure import BEGIN, END, markdown, put_between

OURS = list(page.LADDER)[-1]


def rows(values):
    """(set, class, seed, method, AP25) as the table that the files make; AP50 is half of AP25, CorLoc a tenth."""
    table = pd.DataFrame(values, columns=["set", "class", "seed", "method", "AP25"])
    return table.assign(AP50=table["AP25"] / 2, CorLoc=table["AP25"] / 10, fit=1.0, predict=2.0)


def test_summary_is_the_mean_over_classes_of_the_mean_over_seeds():
    table = page.summary(
        rows(
            [
                ("COCO", "cow", 0, OURS, 0.2),
                ("COCO", "cow", 1, OURS, 0.4),
                ("COCO", "person", 0, OURS, 0.6),
                ("COCO", "person", 1, OURS, 0.8),
            ]
        )
    )
    # Classes .3 and .7; seeds .4 and .6, whose deviation is .1 times the root of two.
    assert table.loc[OURS, "COCO (2 classes)"] == "50.0 +- 14.1 / 25.0 +- 7.1"
    assert table.loc[OURS, "real, settings chosen on (1 class)"] == "30.0 +- 14.1 / 15.0 +- 7.1"
    assert table.loc[OURS, "real, kept apart (1 class)"] == "70.0 +- 14.1 / 35.0 +- 7.1"


def test_a_seed_that_not_every_class_has_counts_in_no_spread():
    table = page.summary(
        rows([("COCO", "cow", 0, OURS, 0.2), ("COCO", "cow", 1, OURS, 0.4), ("COCO", "person", 0, OURS, 0.6)])
    )
    assert table.loc[OURS, "COCO (2 classes)"] == "45.0 / 22.5"


def test_a_method_measured_on_some_classes_says_so():
    table = page.summary(
        rows([("COCO", "cow", 0, OURS, 0.2), ("COCO", "cow", 0, "DDT", 0.1), ("COCO", "person", 0, OURS, 0.6)])
    )
    assert table.loc["DDT", "COCO (2 classes)"] == "10.0 / 5.0 (1 of them)"
    assert table.index.tolist() == ["DDT", OURS]  # rivals before ours


def test_one_class_name_in_two_sets_is_two_classes():
    table = page.by_class(
        rows([("COCO", "cup", 0, OURS, 0.2), ("collage", "cup", 0, OURS, 0.6), ("collage", "cup", 1, OURS, 0.8)])
    )
    assert table.loc[("COCO", "cup"), OURS] == "20 / 10 / 2"
    assert table.loc[("collage", "cup"), OURS] == "70 / 35 / 7"
    assert table["seeds of ours"].tolist() == [1, 2]


def test_bundled_sets_are_not_among_the_real_ones():
    named = page.groups(
        rows([("collage", "cup", 0, OURS, 0.2), ("coins", "coin", 0, OURS, 0.2), ("COCO", "cup", 0, OURS, 0.2)])
    )
    assert set(named) == {"collage", "coins", "COCO", "real, kept apart", "real, all"}
    assert len(named["real, all"]) == 1


def test_diagnosis_is_averaged_over_classes(tmp_path):
    for category, share in (("cow", 0.2), ("person", 0.6)):
        stages = {"proposal recall": share, "ours": [share, share / 2]}
        one = {"set": "COCO", "class": category, "rows": {"before": stages, "after": stages}}
        (tmp_path / f"COCO-{category}.json").write_text(json.dumps(one))
    table = page.diagnosis(tmp_path)
    assert table.loc[("COCO (2 classes)", "after")].tolist() == ["0.40", "40 / 20"]
    assert "| COCO (2 classes) | before | 0.40 | 40 / 20 |" in markdown(table)


def test_put_between_keeps_what_was_written_by_hand(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    put_between(path, "new\n")
    put_between(path, "newer\n")
    assert path.read_text() == f"above\n{BEGIN}\nnewer\n{END}\nbelow\n"
    assert [one.name for one in tmp_path.iterdir()] == ["page.md"]


def test_put_between_adds_the_markers_at_the_end(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("by hand\n")
    put_between(path, "table\n")
    assert path.read_text() == f"by hand\n{BEGIN}\ntable\n{END}"


def test_put_between_refuses_a_page_that_would_lose_its_end(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"above\n{BEGIN}\nbelow, by hand\n")
    with pytest.raises(SystemExit, match="it was left as it is"):
        put_between(path, "new\n")
    assert "below, by hand" in path.read_text()
