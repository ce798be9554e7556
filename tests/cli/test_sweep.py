"""co3cli.table, co3cli.sweep, co3cli.report: a small table from YAML to its report, on a cluster within this process."""

from __future__ import annotations

import json
import re
import shutil

import dask
import pandas as pd
import pytest
from distributed import LocalCluster
from PIL import Image

from co3cli import sweep as module
from co3cli.markdown import markdown
from co3cli.report import numbers, summary, write_reports
from co3cli.sweep import _client, read_records, run_task, sweep, tasks_of
from co3cli.table import TABLES, Table, find_sets, published_table, read_table
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.experiment import Experiment, read_outcomes, run_experiment

SMALL = {"input_size": 64, "mask_size": 64, "epochs": 1, "max_proposals": 40, "peak_scales": [1.0], "prior_scales": [1.0]}
VALUES = {
    "title": "A small table",
    "sets": ["collage", "NOWHERE"],
    "classes": ["cat", "cup"],
    "photos": 2,
    "measures": ["AP25", "AP50", "CorLoc"],
    "defaults": {"config": SMALL},
    "rows": {"default": None, "DDT": {"method": "ddt", "config": {"prior": "single"}}},
}
SMALL_TABLE = Table.model_validate(VALUES)


def changed(**changes) -> Table:
    return Table.model_validate(VALUES | changes)


@pytest.fixture(scope="module")
def scheduler():
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(protocol="inproc://", **options) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def swept(scheduler, tmp_path_factory):
    """The folder of a whole sweep, and what was said."""
    output, said = tmp_path_factory.mktemp("swept"), []
    sweep("small", SMALL_TABLE, output, scheduler=scheduler, progress=False, say=said.append)
    return output, said


@pytest.fixture
def sets(tmp_path):
    """Two photos of cups with their masks, as a set of one's own."""
    root = tmp_path / "sets"
    for sample in demo_set("collage")["cup"][:2]:
        for path, kind in [(sample.image_path, "Image"), *((mask, "Mask") for mask in sample.mask_paths)]:
            (root / "MINE" / kind / "cup").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / "MINE" / kind / "cup" / path.name)
    return root


def outcomes(record, output):
    return {(task.row, task.category): task.outcome(output).model_dump(exclude={"seconds"}) for task in record.tasks}


# -------------------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_that_come_along_can_be_run(name):
    stem, table = read_table(name)
    assert stem == name and len(table.rows) > 1
    published = set(published_table(table.paper)["set"]) if table.paper else set()
    assert not table.paper or set(table.sets) <= published
    assert not table.paper or any(row.paper for row in table.rows.values())


def test_tables_2_and_4_share_every_run():
    (_, second), (_, fourth) = read_table("table2"), read_table("table4")
    assert second.rows == fourth.rows and second.sets == fourth.sets


def test_rows_take_the_defaults_and_their_own_settings_come_on_top():
    row = SMALL_TABLE.rows["DDT"]
    assert row.settings() == CoSegConfig(**SMALL, prior="single")
    released = changed(rows={"x": {"preset": "released"}}).rows["x"].settings()
    assert released == CoSegConfig.released(**SMALL)


@pytest.mark.parametrize(
    "text, said",
    [
        ("rows: [", "must be YAML"),
        ("title: x", "rows: Field required"),
        ("{title: x, rows: {a: {method: unet}}}", "method must be one of"),
        ("{title: x, rows: {a: {config: {epochs: -1}}}}", "greater than or equal to 0"),
        ("{title: x, rows: {a: {config: {epoch: 1}}}}", "Extra inputs"),
        ("{title: x, paper: Table 2, rows: {a: {paper: Nobody}}}", "must be a method of Table 2"),
        ("{title: x, rows: {a: }, speed: 3}", "speed"),
        ("{title: x, photos: 1, rows: {a: }}", "photos"),
    ],
)
def test_a_wrong_table_is_one_sentence_that_names_the_file(text, said, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine.yaml") as caught:
        read_table(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"TABLE must be one of table2, .* or a YAML file, got nowhere.yaml"):
        read_table("nowhere.yaml")


# --------------------------------------------------------------------------------------------------------------- the sets


def test_sets_of_the_root_and_bundled_ones_are_found(sets):
    found, absent = find_sets(changed(sets="all", classes=None), sets)
    assert list(found) == ["MINE", "coins", "collage"] and absent == []
    found, absent = find_sets(changed(classes=["cup"]), sets, ["MINE", "OTHER"])
    assert list(found) == ["MINE"] and absent == ["OTHER"] and list(found["MINE"]) == ["cup"]
    with pytest.raises(ValueError, match=r"none of the sets OTHER is there: .* has MINE; name others with --set"):
        find_sets(SMALL_TABLE, sets, ["OTHER"])
    with pytest.raises(ValueError, match="no set has a class zebra"):
        find_sets(changed(classes=["zebra"]), None)


def test_ready_made_inputs_are_used_where_all_photos_have_them(sets):
    table = changed(sets=["MINE"], classes=None, rows={"there": None, "never": {"ready_priors": "never"}})
    folder = sets / "MINE" / "SalRes_ZhangICCV17" / "cup"
    folder.mkdir(parents=True)
    samples = demo_set("collage")["cup"][:2]
    for count, sample in enumerate(samples):
        used = {task.row: task.experiment.ready_priors for task in tasks_of(table, sets, progress=False)[0]}
        assert used == {"there": False, "never": False}, count
        Image.fromarray(sample.masks.any(0).numpy().astype("uint8") * 255).save(folder / f"{sample.name}.png")
    tasks = tasks_of(table, sets, progress=False)[0]
    assert {task.row: task.experiment.ready_priors for task in tasks} == {"there": True, "never": False}
    always = changed(sets=["MINE"], classes=None, rows={"a": {"ready_proposals": "always"}})
    with pytest.raises(ValueError, match="ready_proposals must be there for MINE/cup"):
        tasks_of(always, sets, progress=False)


# ----------------------------------------------------------------------------------------------------------------- the key


def test_the_key_is_of_what_decides_the_numbers_and_nothing_else(sets, tmp_path):
    def keys(table, root=sets):
        return [task.key for task in tasks_of(table, root, progress=False)[0]]

    plain = changed(sets=["MINE"], classes=None, rows={"a": None})
    (first,) = keys(plain)
    renamed = changed(title="Other", sets=["MINE"], classes=None, rows={"b": None}, measures=["AP75"])
    assert keys(renamed) == [first]
    moved = tmp_path / "elsewhere"
    shutil.copytree(sets, moved)
    assert keys(plain, moved) == [first]
    others = [
        changed(sets=["MINE"], classes=None, rows={"a": {"config": {"nms_iou": 0.3}}}),
        changed(sets=["MINE"], classes=None, rows={"a": {"method": "dff"}}),
        changed(sets=["MINE"], classes=None, rows={"a": None}, seeds=[1]),
    ]
    found = {first, *(key for table in others for key in keys(table))}
    assert len(found) == 4
    mask = next((moved / "MINE" / "Mask" / "cup").iterdir())
    image = Image.open(mask).point(lambda value: 255 - value)
    image.save(mask)
    assert keys(plain, moved) != [first]


def test_the_key_knows_the_weights_and_the_version(sets, tmp_path, monkeypatch):
    weights = tmp_path / "own.pth"
    weights.write_bytes(b"one")
    table = changed(sets=["MINE"], classes=None, rows={"a": {"config": {"weights": str(weights)}}})
    first = tasks_of(table, sets, progress=False)[0][0].key
    weights.write_bytes(b"two")
    second = tasks_of(table, sets, progress=False)[0][0].key
    monkeypatch.setattr(module.co3lib, "__version__", "9.9")
    assert len({first, second, tasks_of(table, sets, progress=False)[0][0].key}) == 3


# --------------------------------------------------------------------------------------------------------------- the runs


def test_a_sweep_runs_every_class_under_every_row(swept):
    output, said = swept
    (record,) = read_records(output)
    assert {(task.row, task.category) for task in record.tasks} == {(r, c) for r in ("default", "DDT") for c in ("cat", "cup")}
    assert all(task.outcome(output) is not None for task in record.tasks) and not record.failed
    assert said == ["Not there, so left out: NOWHERE.", "4 runs of small: 0 finished before, 4 to do."]


def test_what_is_finished_is_not_run_again_whichever_table_asks(swept, monkeypatch):
    output, said = swept[0], []
    monkeypatch.setattr(module, "_client", None)
    table = changed(title="Another", rows={"the same": None}, sets=["collage"])
    sweep("another", table, output, progress=False, say=said.append)
    assert said == ["2 runs of another: 2 finished before, 0 to do."]
    (output / "another.sweep.json").unlink()


def test_the_numbers_are_those_of_one_experiment(swept, tmp_path):
    """As notebook 14 runs it."""
    (record,) = read_records(swept[0])
    config = CoSegConfig(**SMALL)
    experiment = Experiment(set="collage", classes=("cat", "cup"), photos=2, config=config)
    run_experiment(experiment, tmp_path / "run", progress=False)
    for outcome in read_outcomes(tmp_path / "run"):
        same = next(task for task in record.tasks if (task.row, task.category) == ("default", outcome.category))
        assert same.outcome(swept[0]).measures == outcome.measures


def test_a_failed_task_is_reported_and_stops_nothing(scheduler, sets, tmp_path):
    mask = next((sets / "MINE" / "Mask" / "cup").iterdir())
    Image.new("1", Image.open(mask).size).save(mask)  # an empty mask is an error when it is measured against
    table = changed(sets=["MINE", "collage"], classes=["cup"], rows={"a": None})
    output, said = tmp_path / "out", []
    record = sweep("half", table, output, sets, scheduler=scheduler, progress=False, say=said.append)
    assert len(record.failed) == 1 and [task.set for task in record.tasks if task.outcome(output)] == ["collage"]
    assert re.match(r"Failed: a, MINE/cup, seed 0: .* must have at least one pixel", said[-1])
    assert write_reports(output) and "must have at least one pixel" in (output / "report" / "half.md").read_text()


def test_a_run_begun_with_the_set_elsewhere_is_begun_anew(sets, tmp_path):
    table = changed(sets=["MINE"], classes=None, rows={"a": None})
    (task,) = tasks_of(table, sets, progress=False)[0]
    folder = task.folder(tmp_path)
    folder.mkdir(parents=True)
    other = task.experiment.model_copy(update={"root": tmp_path / "before"})
    (folder / "experiment.json").write_text(other.model_dump_json())
    run_task(task.experiment.model_dump_json(), str(folder))
    assert task.outcome(tmp_path).photos == 2


def test_a_scheduler_that_does_not_answer_is_one_sentence(sets, tmp_path, monkeypatch):
    monkeypatch.setattr("co3cli.sweep._ANSWER", 1)
    table = changed(sets=["MINE"], classes=None, rows={"a": None})
    with pytest.raises(ValueError, match="--scheduler must be the address of a dask scheduler, got tcp"):
        sweep("x", table, tmp_path, sets, scheduler="tcp://127.0.0.1:1", progress=False, say=lambda _: None)


def test_workers_of_a_machine_that_slept_are_not_given_up(monkeypatch):
    def start(**_):
        assert dask.config.get("distributed.scheduler.worker-ttl") is None
        raise KeyboardInterrupt

    monkeypatch.setattr("co3cli.sweep.LocalCluster", start)
    with pytest.raises(KeyboardInterrupt), _client(1, None, 1):
        pass


def test_a_folder_without_a_sweep_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds no sweep; run `co3 sweep TABLE"):
        write_reports(tmp_path)
    (tmp_path / "a.sweep.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.sweep\.json is not the record of a sweep"):
        write_reports(tmp_path)


# ------------------------------------------------------------------------------------------------------------- the report


def test_the_report_has_every_number_of_the_runs(swept):
    output = swept[0]
    (record,) = read_records(output)
    write_reports(output)
    rows = pd.read_csv(output / "report" / "small.csv")
    assert len(rows) == 4 * 3
    for task in record.tasks:
        part = rows[(rows.row == task.row) & (rows["class"] == task.category)].set_index("measure")["ours"]
        assert {name: value / 100 for name, value in part.items()} == pytest.approx(
            {name: task.outcome(output).measures[name] for name in ("AP25", "AP50", "CorLoc")}
        )
    text = (output / "report" / "small.md").read_text()
    mean = rows[(rows.row == "DDT") & (rows.measure == "AP25")]["ours"].mean()
    assert f"| DDT | {mean:.1f} |" in text
    assert "NOWHERE" in text and "Not comparable" in text and "method: ddt (theirs: deepco3) — of DDT" in text
    page = (output / "report" / "small.html").read_text()
    pictures = re.findall(r'src="([^"]+)"', page)
    assert len(pictures) == 3 and all((output / "report" / name).is_file() for name in pictures)
    assert "<table>" in page and "http" not in page


def test_published_numbers_stand_beside_ours(tmp_path, swept):
    """Made outcomes on a set with the name of one of the paper's."""
    (record,) = read_records(swept[0])
    table = changed(sets=["VOC12"], paper="Table 2", rows={"DDT": {"paper": "DDT", "method": "ddt"}, "x": None})
    tasks = [module.Task(**{**vars(task), "set": "VOC12", "row": row}) for task in record.tasks[:1] for row in ("DDT", "x")]
    made = module.Record("t", table, None, [], tasks, {})
    rows = numbers(made, swept[0])
    line = summary(made, rows).loc["DDT"]
    assert line["VOC12 AP25, published"] == "30.7" and line["VOC12 AP50, published"] == "8.8"
    assert "VOC12 CorLoc, published" not in line
    assert summary(made, rows).loc["x", "VOC12 AP25, published"] == ""


def test_an_unfinished_sweep_says_what_is_left_out(swept, tmp_path):
    shutil.copytree(swept[0], tmp_path / "half")
    (record,) = read_records(tmp_path / "half")
    lost = next(task for task in record.tasks if task.row == "DDT")
    shutil.rmtree(lost.folder(tmp_path / "half"))
    write_reports(tmp_path / "half")
    text = (tmp_path / "half" / "report" / "small.md").read_text()
    assert "3 of 4 runs are finished" in text and "(1 of 2 runs)" in text


def test_a_bar_in_a_name_does_not_break_a_table():
    table = pd.DataFrame({"a|b": ["x|y"]}, index=pd.Index(["k"], name="n"))
    assert markdown(table).splitlines()[-1] == r"| k | x\|y |"


def test_the_record_is_json_that_can_be_read_again(swept):
    (record,) = read_records(swept[0])
    before = json.loads((swept[0] / "small.sweep.json").read_text())
    record.write(swept[0])
    assert json.loads((swept[0] / "small.sweep.json").read_text()) == before
