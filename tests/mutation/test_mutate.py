"""The mutation run itself: its mutants are what they say, and its list of equivalent ones is up to date."""

import ast
import os
import subprocess
import sys

import mutate
import pytest


def test_mutants_are_told_apart_by_their_names():
    for module in mutate.MODULES:
        names = [one.name for one in mutate.mutants(module)]
        assert len(names) == len(set(names)) > 0


def test_each_mutant_is_another_program_that_compiles():
    whole = ast.unparse(ast.parse((mutate.PACKAGE / "overlap.py").read_text(encoding="utf-8")))
    for one in mutate.mutants("overlap"):
        before = getattr(one.node, one.field)
        setattr(one.node, one.field, one.value)
        assert ast.unparse(one.tree) != whole
        compile(ast.fix_missing_locations(one.tree), "overlap.py", "exec")
        setattr(one.node, one.field, before)


def test_those_named_as_equivalent_are_mutants_and_have_a_reason():
    for (module, name), why in mutate.known().items():
        assert name in [one.name for one in mutate.mutants(module)], f"{module}.{name} is no mutant any more"
        assert why


def test_the_tests_named_for_a_module_are_there():
    assert all((mutate.TESTS / file).is_file() for files in mutate.MODULES.values() for file in files)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a < b", ["a <= b"]),
        ("x = a + 2", ["a - 2", "a + 3"]),
        ("not a", ["a"]),
        ("f(a, stable=True)", ["pass", "f(a, stable=False)"]),
        ("if a and b: c()", ["if not (a and b):", "a or b", "pass"]),
        ("raise ValueError(1 + 2)", []),
        ("def f(x: int = 2) -> Sequence[1]: pass", ["x: int=3"]),
    ],
)
def test_what_is_changed(source, wanted, monkeypatch, tmp_path):
    monkeypatch.setattr(mutate, "PACKAGE", tmp_path)
    (tmp_path / "m.py").write_text(source + "\n")
    changed = []
    for one in mutate.mutants("m"):
        before = getattr(one.node, one.field)
        setattr(one.node, one.field, one.value)
        changed.append(ast.unparse(one.tree))
        setattr(one.node, one.field, before)
    assert len(changed) == len(wanted)
    assert all(any(part in program for program in changed) for part in wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a mutant is run in a fork")
def test_a_mutant_that_a_test_notices_is_killed_and_another_survives(tmp_path):
    # In a process of its own, as forks must not share this one's imports of the package.
    test = "from co3lib.overlap import tight_box\n\n\ndef test():\n    assert tight_box([[1]]) == (0, 0, 1, 1)\n"
    (tmp_path / "test_it.py").write_text(test)
    code = (
        "import sys; sys.path[:0] = [{package!r}, {tests!r}]; import pathlib, pytest, torch, mutate\n"
        "mutate.TESTS = pathlib.Path({folder!r}); mutate.MODULES = {{'overlap': ['test_it.py']}}\n"
        "count, survivors = mutate.examine('overlap', 2)\n"
        "killed = [one.name for one in mutate.mutants('overlap') if one.name not in survivors]\n"
        "assert killed and all(name.startswith('tight_box') for name in killed), killed\n"
        "assert any(name.startswith('mask_iou') for name in survivors) and count == len(killed) + len(survivors)\n"
    )
    filled = code.format(package=str(mutate.ROOT), tests=str(mutate.ROOT / "tests" / "mutation"), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", filled], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
