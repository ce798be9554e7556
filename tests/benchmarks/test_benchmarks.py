"""The benchmarks' tables: what is averaged over what, and that a page keeps what was written by hand."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import against
import first_demo
import growth
import past_the_paper as page
import soak
import vit
from measure import BEGIN, END, SIZES, average_precision_of_size, put_between

from co3cli.markdown import markdown
from co3lib.config import CoSegConfig

OURS = list(page.LADDER)[-1]


def rows(values):
    """(set, class, seed, method, AP25) as the table that the files make; AP50 is half of AP25, AP75 a fifth, CorLoc a tenth."""
    table = pd.DataFrame(values, columns=["set", "class", "seed", "method", "AP25"])
    return table.assign(AP50=table["AP25"] / 2, AP75=table["AP25"] / 5, CorLoc=table["AP25"] / 10, fit=1.0, predict=2.0)


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
    assert table.loc[OURS, "small things, settings chosen on (1 class)"] == "30.0 +- 14.1 / 15.0 +- 7.1"
    assert table.loc[OURS, "small things, kept apart (1 class)"] == "70.0 +- 14.1 / 35.0 +- 7.1"


def test_a_seed_that_not_every_class_has_counts_in_no_spread():
    table = page.summary(rows([("COCO", "cow", 0, OURS, 0.2), ("COCO", "cow", 1, OURS, 0.4), ("COCO", "person", 0, OURS, 0.6)]))
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
    assert table.loc[("COCO", "cup"), OURS] == "20 / 10 / 4 / 2"
    assert table.loc[("collage", "cup"), OURS] == "70 / 35 / 14 / 7"
    assert table["seeds of ours"].tolist() == [1, 2]


def test_one_class_name_in_two_sets_counts_twice_in_a_mean():
    table = page.summary(
        rows(
            [
                ("LARGE", "cat", 0, OURS, 0.2),
                ("LARGE", "cat", 1, OURS, 0.4),
                ("PETS_MUGS", "cat", 0, OURS, 0.6),
                ("PETS_MUGS", "cat", 1, OURS, 0.8),
                ("LARGE", "bus", 0, OURS, 1.0),
                ("LARGE", "bus", 1, OURS, 1.0),
                ("LARGE", "cat", 0, "DDT", 0.5),
            ]
        )
    )
    # Classes .3, .7 and 1; seeds .6 and .7333.
    assert table.loc[OURS, "ordinary photos, kept apart (3 classes)"] == "66.7 +- 9.4 / 33.3 +- 4.7"
    assert table.loc["DDT", "ordinary photos, kept apart (3 classes)"] == "50.0 / 25.0 (1 of them)"


def test_bundled_sets_are_not_among_the_real_ones_nor_small_things_among_ordinary_photos():
    named = page.groups(
        rows(
            [
                ("collage", "cup", 0, OURS, 0.2),
                ("coins", "coin", 0, OURS, 0.2),
                ("COCO", "cup", 0, OURS, 0.2),
                ("COCO", "person", 0, OURS, 0.2),
                ("LARGE", "person", 0, OURS, 0.2),
                ("LARGE", "bus", 0, OURS, 0.2),
                ("STREET", "pedestrian", 0, OURS, 0.2),
            ]
        )
    )
    # Settings were chosen on the persons of LARGE and not on those of COCO.
    assert {name: list(zip(part["set"], part["class"], strict=True)) for name, part in named.items()} == {
        "ordinary photos, settings chosen on": [("LARGE", "person"), ("STREET", "pedestrian")],
        "ordinary photos, kept apart": [("LARGE", "bus")],
        "ordinary photos, all": [("LARGE", "person"), ("LARGE", "bus"), ("STREET", "pedestrian")],
        "collage": [("collage", "cup")],
        "coins": [("coins", "coin")],
        "COCO": [("COCO", "cup"), ("COCO", "person")],
        "small things, kept apart": [("COCO", "cup"), ("COCO", "person")],
        "small things, all": [("COCO", "cup"), ("COCO", "person")],
    }


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


def test_average_precision_of_one_size_by_hand():
    """Two photos. Truth: .005, .05 and .3 of the first, .08 of the second. Finds of the first, best first: on the .3; on the
    .05; on nothing, itself of the size; on nothing, itself too large. Of the second: on the .08, though itself too large."""
    ious = [
        torch.tensor([[0.0, 0.0, 0.9], [0.0, 0.6, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.2]]),
        torch.tensor([[0.55]]),
    ]
    scores = [torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0.5])]
    found = [torch.tensor([0.28, 0.04, 0.06, 0.2]), torch.tensor([0.12])]
    truth = [torch.tensor([0.005, 0.05, 0.3]), torch.tensor([0.08])]

    def at(limits, iou):
        return average_precision_of_size(ious, scores, list(zip(found, truth, strict=True)), limits, iou)

    # Of the middle size count: right, wrong, right, of two instances.
    assert at((0.01, 0.1), 0.5) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # At .58 what is on the .08 is on nothing, and too large itself: it does not count.
    assert at((0.01, 0.1), 0.58) == pytest.approx(0.5)
    # Over a tenth: right, and the one of .2 that is on nothing; the one of .12 covers a smaller instance.
    assert at((0.1, 1.0), 0.5) == 1
    # The small one is found by none.
    assert at((0.0, 0.01), 0.5) == 0
    # A limit belongs to the size below it: of this one are .08, and .06, wrong, before it. Where no instance is of a size,
    # nothing is measured.
    assert at((0.05, 0.08), 0.5) == 0.5
    assert np.isnan(at((0.08, 0.1), 0.5))


def test_a_find_of_another_size_that_is_wrong_lowers_only_its_own():
    ious, scores = [torch.tensor([[0.0, 0.0], [0.8, 0.0], [0.0, 0.8]])], [torch.tensor([0.9, 0.8, 0.7])]
    areas = [(torch.tensor([0.005, 0.05, 0.5]), torch.tensor([0.05, 0.5]))]
    of_size = {size: average_precision_of_size(ious, scores, areas, limits, 0.5) for size, limits in SIZES.items()}
    assert of_size["1 to 10 %"] == of_size["over 10 %"] == 1
    assert np.isnan(of_size["under 1 %"])
    areas[0][0][0] = 0.06
    assert average_precision_of_size(ious, scores, areas, SIZES["1 to 10 %"], 0.5) == 0.5
    assert average_precision_of_size(ious, scores, areas, SIZES["over 10 %"], 0.5) == 1


def test_nothing_found_has_no_precision_at_any_size():
    nothing = [torch.zeros(0, 1)], [torch.zeros(0)], [(torch.zeros(0), torch.tensor([0.05]))]
    assert average_precision_of_size(*nothing, SIZES["1 to 10 %"], 0.5) == 0


def test_the_pages_of_a_vision_transformer(tmp_path):
    kept = {
        "class": "cow",
        "photos": 4,
        "size": 672,
        "scales": [1.0, 2.0],
        "priors": {"the prior": 0.5, "carried over": 0.625},
        "whole": {"default": {"AP25": 0.2, "AP50": 0.1}, "other": {"AP25": 1.0, "AP50": 0.0}},
    }
    (tmp_path / "COCO-cow.json").write_text(json.dumps(kept))
    text = vit.tables(tmp_path)
    assert "672 pixels; peaks at scales [1.0, 2.0]" in text
    assert "| the prior | 0.50 |" in text and "| default | 20.0 / 10.0 |" in text and "| other | 100.0 / 0.0 |" in text


def test_pixel_ap_is_of_all_pixels_of_all_photos():
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    samples = [SimpleNamespace(masks=masks), SimpleNamespace(masks=masks)]
    right = torch.tensor([[1.0], [0.0]]).expand(2, 4).repeat_interleave(2, 0)[None, None]
    assert vit.pixel_ap(right.repeat(2, 1, 1, 1), samples) == pytest.approx(1, abs=0.02)
    # A photo whose map is high everywhere comes first, half of it right; then 2 in 3 of what is found.
    high = torch.full_like(right, 2.0)
    both = vit.pixel_ap(torch.cat([right, high]), samples)
    assert both == pytest.approx(2 / 3, abs=0.02)


def test_a_ratio_of_speeds_is_the_median_over_rounds_of_neighbours():
    # The second round was slow for both: the ratio of medians would be 2, that of neighbours is 3 in two of three rounds.
    measured = against.Measured([3.0, 30.0, 4.0], [1.0, 10.0, 2.0])
    assert measured.ratio == 3
    assert against.row("a", measured, "b", 0.5, 0.5) == ["a", "4e+03", "1.4e+04", "b", "2e+03", "1.5", "0.5"]
    assert against.row("a", measured, "b", None)[-1] == "-"


def test_both_are_warm_before_they_are_measured_in_turn():
    calls = []
    measured = against.in_turn(lambda: calls.append("own"), lambda: calls.append("rival"), rounds=2)
    assert calls == ["own", "rival", "rival", "own", "rival", "own"]
    assert len(measured.own) == len(measured.rival) == 2


def test_an_exponent_is_the_power_of_the_sizes():
    sizes = (10, 100, 1000)
    assert growth.exponent(sizes, [0.5 * size**2 for size in sizes]) == pytest.approx(2)
    assert growth.exponent(sizes, [7.0] * 3) == pytest.approx(0, abs=1e-9)


def test_growth_is_of_the_call_and_above_what_the_libraries_take(monkeypatch):
    made, peaks = [], iter([500.0, 501.0, 900.0])
    monkeypatch.setattr(growth, "highest", lambda: next(peaks))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)

    def setup(size):
        made.append(size)
        np.ones(3_000_000 // size).sum()  # what is not timed costs more where the size is small
        return lambda: np.ones(size).sum()

    found = growth.grow(setup, (1, 1_000_000))
    assert made == [1, 1, 1_000_000]  # the first is warm before it is measured
    assert found.seconds[0] < found.seconds[1]
    assert found.megabytes == [1, 400]


def test_a_table_of_growth_has_both_exponents_and_says_what_was_not_measured():
    found = growth.Grown([1.0, 10.0], [0.0, 0.0])
    rows = [*growth.rows_of("some", (1, 10), found), *growth.rows_of("all", (1, 10, 20), growth.Grown([1.0, 10.0, 40.0], []))]
    lines = growth.table((1, 10, 20), rows, "photos").splitlines()
    assert lines[0] == "| photos | 1 | 10 | 20 | exponent | last |"
    assert lines[2:4] == ["| some, s | 1 | 10 | - | 1.00 | 1.00 |", "| some, MB | 1 | 1 | - | 0.00 | 0.00 |"]
    assert lines[4].startswith("| all, s | 1 | 10 | 40 |") and lines[4].endswith(" 2.00 |")


def test_pairs_of_a_set_are_counted_with_every_partner_that_is_kept():
    scales = CoSegConfig().peak_sizes
    found = growth.counted([0.001] * len(scales))
    assert found.loc[("448 alone", 1000)].tolist() == ["999,000", "1", "1", "0.28", "151"]
    # Six scales, and a fiftieth of the partners.
    of_all = found.loc[(f"the default's, {', '.join(map(str, sorted(scales)))}", 20)]
    assert of_all.tolist() == ["19,980", "6", "0.12", "0.033", "3"]


def test_soaking_counts_from_the_second_round():
    def rounds(*states):
        return [soak.Round(float(k), megabytes, files, 4, children) for k, (megabytes, files, children) in enumerate(states)]

    level = rounds((100, 5, 0), (700, 7, 1), (710, 9, 1), (705, 7, 1))
    assert soak.grown(level, 30) == []
    assert soak.slope(level) == pytest.approx(2.5)
    assert [line.split("|")[1].strip() for line in soak.table(level).splitlines()[2:]] == ["1", "2", "3", "4"]
    (memory,) = soak.grown(rounds((100, 5, 0), (700, 7, 1), (731, 7, 1)), 30)
    assert memory == "memory must grow by at most 30 MB, got 700 MB and then 731"
    files, children = soak.grown(rounds((100, 5, 0), (700, 7, 1), (700, 8, 2)), 30)
    assert "open files must not grow, got 7 and then 8" in files and "children" in children


def test_the_parts_of_a_demo_add_up_to_all_of_it():
    def cell(source, start, duration):
        times = {"start_time": f"2030-01-01T00:00:{start:02}+00:00", "duration": duration}
        return {"source": [source], "metadata": {"papermill": times if duration else {"duration": None}}}

    cells = [cell("# words", 0, None)]
    cells += [cell(f"# why\ncell{k} = {k}", 10 + k, 0.5 + k / 100) for k in range(7)]
    whole = {"start_time": "2030-01-01T00:00:04+00:00", "end_time": "2030-01-01T00:00:20+00:00"}
    began = first_demo._moment("2030-01-01T00:00:00+00:00")
    spans = first_demo.parts({"cells": cells, "metadata": {"papermill": whole}}, began, began + 23)
    everything = spans.pop("all")
    assert everything == 23 and sum(spans.values()) == pytest.approx(23)
    assert list(spans.values())[:2] == [4, 6] and list(spans.values())[-1] == 3
    assert "cell `cell6 = 6`" in spans and "cell `cell1 = 1`" not in spans
    found = first_demo.table({"first": [{"all": 3.0, "after": 1.0}], "again": [{"all": 2.0, "cell": 2.0, "after": 0.0}]})
    assert found.index.tolist() == ["all", "cell", "after"] and found.loc["cell"].tolist() == ["-", "2.0"]
