"""Do the tests notice a mistake? One small thing at a time is changed in a module, and its tests are run on the change.

    python tests/mutation/mutate.py                  every module of MODULES (make mutate)
    python tests/mutation/mutate.py peaks losses     some of them
    python tests/mutation/mutate.py peaks --list     what would be changed

A mutant is killed if a test fails on it (or runs for far longer than otherwise). Those that cannot be, because they compute
the same, are named with the reason in ``equivalent.txt`` beside this file; the command fails if any other survives, and if
that list names one that does not survive. Of modules whose tests take long only one mutant in so many is run (EVERY), which is
then printed. Mutants are told apart by function, expression and change, not by line.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import inspect
import io
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "library"
PACKAGE = ROOT / "co3lib"
EQUIVALENT = Path(__file__).with_name("equivalent.txt")

# The tests that are about a module, the quickest to fail first.
MODULES = {
    "correlation": ["test_correlation.py", "test_losses.py"],
    "peaks": ["test_peaks.py"],
    "losses": ["test_losses.py"],
    "model": ["test_model.py"],
    "evaluation": ["test_evaluation.py", "test_localization.py"],
    "counts": ["test_evaluation.py"],
    "overlap": ["test_overlap.py"],
    "datasets/export": ["test_export.py"],
    "peak_backprop": ["test_peak_backprop.py"],
    "peak_rule": ["test_peak_backprop.py"],
    "relevance": ["test_peak_backprop.py"],
    "ranking": ["test_ranking.py"],
    "beyond/region_ranking": ["test_ranking.py"],
    "beyond/grouping": ["test_grouping.py"],
    "segmentation": ["test_segmentation.py", "test_whole_method.py"],
    "inference": ["test_whole_method.py", "test_segmentation.py"],
    "selection": ["test_whole_method.py", "test_segmentation.py"],
    "training": ["test_training.py"],
    "optimizers": ["test_training.py"],
    "datasets/layout": ["test_datasets.py"],
    "datasets/mask_files": ["test_datasets.py"],
    "datasets/array_files": ["test_datasets.py"],
}

# Where a module's tests take long, only every so many of its mutants is run.
EVERY = {
    "segmentation": 8, "inference": 8, "selection": 8, "training": 4,
    "datasets/layout": 3, "datasets/mask_files": 3, "datasets/array_files": 3,
}  # fmt: skip

_OPERATORS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
}  # fmt: skip
_DROPPED = {
    "abs", "clamp_min", "clamp_max", "clamp", "nan_to_num", "clone", "masked_fill", "square", "sqrt", "sigmoid", "log", "flip",
    "cummax", "double", "lower", "astype", "round", "sum", "mean", "cumsum", "fill_",
}  # fmt: skip
"""Methods whose call is replaced by what it is called on."""


# Imported once for all mutants.
_LIBRARIES = (
    "h5py", "hypothesis.extra.numpy", "matplotlib.figure", "pycocotools.cocoeval", "pydantic", "pytest", "safetensors.torch",
    "scipy.ndimage", "scipy.sparse.csgraph", "skimage.data", "torch", "co3lib._torchvision", "timm", "torchvision.datasets",
)  # fmt: skip


_BROKEN = 99  # how a fork ends in which it is not a test that fails
_LONGEST = 600  # seconds of processor time for tests on an unchanged module, far more than any needs


@dataclass(frozen=True, eq=False)
class Mutant:
    """module; name: function, expression and change, unique in the module; tree: of the whole module, not changed yet;
    node, field, value: the change."""

    module: str
    name: str
    tree: ast.Module
    node: ast.AST
    field: str
    value: object


def mutants(module: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its source."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found, seen = [], Counter()
    for node in ast.walk(tree):
        if not _counts(node, parents):
            continue
        for shown, field, value in _changes(node):
            # A number alone says little: it is told by what it stands in. A statement that is left out is told by itself.
            shown = parents[node] if isinstance(node, ast.Constant) else shown
            before, original = ast.unparse(shown), getattr(node, field)
            setattr(node, field, value)
            left_out = isinstance(shown, ast.stmt) and shown not in (node, parents.get(node))
            after = "pass" if left_out else ast.unparse(shown)
            setattr(node, field, original)
            name = f"{_function(shown, parents)}: {_short(before)} -> {_short(after)}"
            seen[name] += 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            found.append((shown.lineno if hasattr(shown, "lineno") else 0, Mutant(module, name, tree, node, field, value)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, str, object]]:
    """What is to be changed at a node: the node to be shown, the field of ``node`` and its new value."""
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _OPERATORS:
        yield node, "op", _OPERATORS[type(node.op)]()
    elif isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            yield node, "ops", [*node.ops[:k], _OPERATORS[type(operator)](), *node.ops[k + 1 :]]
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(node.test, (ast.Constant, ast.UnaryOp)):
        yield node, "test", ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        value = node.value
        yield node, "value", not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 2 * value or 1.0
    # What stands in the place of a node is changed in its parent, so that one rule serves all places.
    for field, child in ast.iter_fields(node):
        children = child if isinstance(child, list) else [child]
        for k, one in enumerate(children):
            for other in _replacements(one):
                shown = one if isinstance(one, ast.stmt) else node
                yield shown, field, [*children[:k], other, *children[k + 1 :]] if isinstance(child, list) else other


def _replacements(node) -> Iterator[ast.AST]:
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _DROPPED:
        yield node.func.value
    elif isinstance(node, (ast.Break, ast.Continue)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield ast.Pass()


def _counts(node: ast.AST, parents) -> bool:
    """Only what is computed: not what an error says, types, decorators and names, nor zip's ``strict``, the code's own check
    of what is equally long by construction."""
    while node in parents:
        parent = parents[node]
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return False
        if isinstance(parent, ast.Raise) or isinstance(node, (ast.Import, ast.ImportFrom)):
            return False
        if node in (getattr(parent, "annotation", None), getattr(parent, "returns", None)):
            return False
        if node in getattr(parent, "decorator_list", ()) or isinstance(node, ast.JoinedStr):
            return False
        node = parent
    return True


def _function(node: ast.AST, parents) -> str:
    names = []
    while node in parents:
        node = parents[node]
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
    return ".".join(reversed(names)) or "module"


def _short(text: str) -> str:
    lines = text.splitlines()
    return " ".join(lines[0].split()) + (" ..." if len(lines) > 1 else "")


# ------------------------------------------------------------------------------------------------------- running them


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module of the package from a changed tree."""

    def __init__(self, mutant: Mutant):
        setattr(mutant.node, mutant.field, mutant.value)
        self.module, self.tree = mutant.module, mutant.tree
        self.name = f"co3lib.{mutant.module.replace('/', '.')}"

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(PACKAGE / f"{self.module}.py"))

    def exec_module(self, module):
        exec(compile(ast.fix_missing_locations(self.tree), module.__spec__.origin, "exec"), module.__dict__)


def put_in_place(mutant: Mutant) -> None:
    """Change a function of a module that is imported already: whoever has imported the function has it changed."""
    loader = _Mutated(mutant)
    changed = importlib.util.module_from_spec(loader.find_spec(loader.name))
    sys.modules[loader.name], whole = changed, sys.modules[loader.name]
    loader.exec_module(changed)
    sys.modules[loader.name] = whole
    _change(vars(whole), vars(changed))


def _change(old: dict, new: dict) -> None:
    for name, value in old.items():
        other = new.get(name)
        # Under another name is what a class refers to, such as the class it belongs to, and not what is in it.
        if isinstance(value, type) and isinstance(other, type) and other is not value and value.__name__ == name:
            _change(dict(vars(value)), vars(other))
        for one, with_ in zip(_functions(value), _functions(other), strict=False):
            if one is not with_ and one.__module__ == with_.__module__:
                one.__code__, one.__defaults__, one.__kwdefaults__ = with_.__code__, with_.__defaults__, with_.__kwdefaults__


def _functions(value) -> list:
    """The functions that a name stands for: a property has up to three; what decorates one is left as it is."""
    found = [value.fget, value.fset, value.fdel] if isinstance(value, property) else [getattr(value, "__func__", value)]
    found = [value.func] if isinstance(value, cached_property) else found
    return [inspect.unwrap(one) for one in found if inspect.isfunction(one)]


class _Runs:
    """A plugin of pytest that runs the collected tests once for every mutant, each time in a fork of its own."""

    def __init__(self, module: str, waiting: list[Mutant], jobs: int):
        self.module, self.waiting, self.jobs = module, waiting, jobs
        self.survivors: list[Mutant] = []
        self.whole = False

    def pytest_runtestloop(self, session):
        reader, writer = os.pipe()
        child = _fork(lambda: _watch(session, self.module, writer), _LONGEST)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            said = file.read()
        self.whole = os.waitpid(child, 0)[1] == 0
        if self.whole:
            seen = list(zip(session.items, *json.loads(said), strict=True))
            self.survivors = survivors_of([(one, self._work(session, seen, one)) for one in self.waiting], _LONGEST, self.jobs)
        return True

    @staticmethod
    def _work(session, seen: list, one: Mutant):
        # Those that call the changed function come first, the quickest of them before the others. The rest is run too: what
        # a test uses may have been kept from an earlier one when it was watched.
        function = one.name.split(":")[0]
        order = sorted(seen, key=lambda test: (function not in test[2], test[1]))

        def work():
            put_in_place(one)
            return _run(session, [item for item, *_ in order], [seconds for _, seconds, _ in order])

        return work


def _watch(session, module: str, writer: int) -> int:
    """Run the tests on the unchanged module, and write for each the processor time and the functions of the module called."""
    path, used, called = str(PACKAGE / f"{module}.py"), [], []

    def notice(frame, event, _):
        if event == "call" and frame.f_code.co_filename == path:
            called[-1].add(frame.f_code.co_qualname.replace(".<locals>", ""))

    def before():
        called.append(set())
        used.append(time.process_time())

    sys.setprofile(notice)
    failed = _run(session, session.items, before=before)
    sys.setprofile(None)
    ends = [*used[1:], time.process_time()]
    seconds = [end - start for start, end in zip(used, ends, strict=True)]
    with os.fdopen(writer, "wb") as file:
        file.write(json.dumps([seconds, [sorted(names) for names in called]]).encode())
    return failed


def _run(session, items: list, seconds: list[float] | None = None, before=lambda: None) -> int:
    """Run tests until one fails; each is ended that takes far more processor time than the seconds it is known to take."""
    for k, (item, following) in enumerate(zip(items, [*items[1:], None], strict=True)):
        before()
        if seconds:
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (min(hard, int(time.process_time() + 3 + 3 * seconds[k])), hard))
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def _fork(work, seconds: int) -> int:
    """Do something in a process of its own, with so many seconds of processor time; returns its id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = _BROKEN
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        code = int(work())
    finally:
        os._exit(code)


def survivors_of(work: list, seconds: int, jobs: int) -> list[Mutant]:
    """Those (mutant, function) whose function returns 0, each in a fork; printed at once unless known to be the same."""
    waiting, running, survivors, entries = work[::-1], {}, [], known()
    while waiting or running:
        while waiting and len(running) < jobs:
            one, function = waiting.pop()
            running[_fork(function, seconds)] = one
        child, status = os.wait()
        one = running.pop(child)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _BROKEN:
            raise SystemExit(f"{one.module}.{one.name} cannot be put in place")
        if status == 0:
            survivors.append(one)
            if (one.module, one.name) not in entries:
                print(f"  survives: {one.module}.{one.name}", file=sys.__stdout__, flush=True)
    return survivors


def examine(module: str, jobs: int) -> tuple[int, list[str]]:
    """How many mutants a module has, and the names of those that survive.

    Tests are collected once, and then run in forks of this process in which a function is changed. What is changed outside
    functions is run in forks that have not imported the module.
    """
    paths = [str(TESTS / file) for file in MODULES[module]]
    options = ["-x", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", "--rootdir", str(ROOT)]
    every = mutants(module)[:: EVERY.get(module, 1)]

    import pytest

    def anew(one):
        sys.meta_path.insert(0, _Mutated(one))
        return pytest.main([*options, *paths])

    outside = [(one, lambda one=one: anew(one)) for one in every if one.name.split(":")[0] in ("module", *_classes(module))]
    survivors = survivors_of(outside, _LONGEST, jobs)
    runs = _Runs(module, [one for one in every if one not in [mutant for mutant, _ in outside]], jobs)
    with redirect_stdout(io.StringIO()):  # pytest's own words about a loop in which it has run nothing itself
        pytest.main([*options, *paths], plugins=[runs])
    if not runs.whole:
        raise SystemExit(f"the tests of {module} fail without any change: run pytest {' '.join(MODULES[module])}")
    return len(every), sorted(one.name for one in [*survivors, *runs.survivors])


def apart(module: str, jobs: int) -> tuple[int, list[str]]:
    """``examine`` in a fork of its own, so that what one module's tests import is not imported for the next."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.write(writer, json.dumps(examine(module, jobs)).encode())
            code = 0
        except SystemExit as error:
            print(error, file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit(1)
    return tuple(json.loads(said))


def _classes(module: str) -> list[str]:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def known() -> dict[tuple[str, str], str]:
    """(module, mutant) -> why it computes the same, from ``equivalent.txt``."""
    why, entries = "", {}
    for line in EQUIVALENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            why = line[1:].strip()
        elif line.strip():
            module, name = line.split(".", 1)
            entries[module, name] = why
    return entries


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--list", action="store_true", help="only name the mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many run at a time")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.modules if name not in MODULES]
    if unknown:
        parser.error(f"module must be one of {', '.join(MODULES)}, got {unknown[0]}")
    chosen = arguments.modules or list(MODULES)
    if arguments.list:
        print("\n".join(f"{module}.{one.name}" for module in chosen for one in mutants(module)))
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"  # threads do not live through a fork
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for library in _LIBRARIES:
        importlib.import_module(library)
    from hypothesis import Phase, settings

    # That a test fails is all that is asked: its example need not be made smaller.
    settings.register_profile("mutation", phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
    settings.load_profile("mutation")
    entries, bad, total, dead = known(), 0, 0, 0
    for module in chosen:
        began = time.perf_counter()
        step, names = EVERY.get(module, 1), [one.name for one in mutants(module)]
        if step > 1:
            print(f"{module}: of its {len(names)} mutants one in {step}", flush=True)
        count, survivors = apart(module, arguments.jobs)
        same = [name for name in survivors if (module, name) in entries]
        total, dead = total + count - len(same), dead + count - len(survivors)
        left = [name for name in survivors if (module, name) not in entries]
        not_run = set(names) - set(names[::step])
        killed = [name for one, name in entries if one == module and name not in [*survivors, *not_run]]
        print(
            f"{module}: {count - len(survivors)} of {count} killed, {len(same)} the same, {len(left)} survive "
            f"({time.perf_counter() - began:.0f} s)",
            flush=True,
        )
        for name in killed:
            print(f"  named in {EQUIVALENT.name}, but killed or gone: {module}.{name}")
        bad += len(left) + len(killed)
    print(f"all: {dead} of {total} that can be killed are, {100 * dead / max(total, 1):.1f} percent")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
