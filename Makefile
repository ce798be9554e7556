# The two commands: `make demo` shows the method at work, `make test` runs every test.
# Both make a virtual environment of their own the first time and use it again afterwards.

PYTHON ?= python3
VENV ?= .venv
PHOTOS =
# Handed on as it is, through the environment: a shell, or make, would read what is in a name as something else.
export CO3_PHOTOS = $(value PHOTOS)
KILLS = 50
MODULES =

$(if $(strip $(VENV)),,$(error VENV must name a folder, got an empty one; leave it out for .venv))
$(if $(word 2,$(VENV)),$(error VENV must be a path without spaces, got $(VENV)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# OURS says that an environment was made here, so that it may be removed; MAKING says so while it is being made.
OURS := $(VENV)/.co3
MAKING := $(patsubst %/,%,$(VENV)).making
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and \
	"co3 needs Python 3.11 to 3.13, but $(PYTHON) is %d.%d; name another one, as in: make demo PYTHON=python3.12" \
	% sys.version_info[:2])

CASES = 200
SPELLED = co3lib co3cli co3course benchmarks tests notebooks docs data .ci/run $(wildcard *.md results/*.md *.toml *.yml *.cff) Makefile

.PHONY: help install demo test fuzz mutate lint notebooks site lab measure bench kill clean

help:
	@echo "make demo                  install, run the quickstart and leave its results in results/quickstart"
	@echo "make demo PHOTOS=PATH      the same on a folder with your own photos, into results/photos"
	@echo "make test                  install and run all tests; names the 20 slowest"
	@echo "make mutate                change the method's modules one line at a time and see whether the tests notice (hours)"
	@echo "make fuzz                  draw thousands of damaged and odd inputs, CASES=200 of each kind of file"
	@echo "make lint                  check style, types and spelling of the code, the pages and the notebooks"
	@echo "make lab                   open the notebooks in JupyterLab"
	@echo "make notebooks             run all notebooks and say how many seconds each took; results in results/notebooks"
	@echo "make site                  the same, and a site of their pages, the library's reference and slides: results/site/index.html"
	@echo "make kill                  kill what runs long at $(KILLS) random moments each, and see that nothing is lost"
	@echo "make measure PHOTOS=PATH   measure the method on the sets in a folder"
	@echo "make bench                 measure how long each part takes beside a rival; the table is results/bench.md"
	@echo "make clean                 remove the environment and everything that can be made again"

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/python -m co3course.runner notebooks/00_quickstart.ipynb -p profile smoke \
	$(if $(value PHOTOS),--output results/photos -p photos "$$CO3_PHOTOS",--output results/quickstart)

# Tests run two at a time, so each process keeps to one thread. They start many, so what is compiled is kept.
test: export OMP_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=20

mutate: $(STAMP)
	$(BIN)/python tests/mutation/mutate.py $(MODULES)

fuzz: export OMP_NUM_THREADS = 1
fuzz: $(STAMP)
	CO3_FUZZ_CASES=$(CASES) $(BIN)/python -m pytest -n 2 tests/fuzz

lint: $(STAMP)
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check --quiet
	$(BIN)/python -m mypy
	$(BIN)/python -m codespell_lib $(SPELLED)

notebooks: $(STAMP)
	@$(BIN)/python -m co3course.run_all notebooks --output results/notebooks

site: notebooks
	@$(BIN)/python -m co3course.website --executed results/notebooks --output results/site

lab: $(STAMP)
	$(BIN)/python -m jupyter lab --notebook-dir=. notebooks/00_quickstart.ipynb

measure: export OMP_NUM_THREADS = 1
measure: $(STAMP)
	$(BIN)/python benchmarks/measure.py $(if $(value PHOTOS),--root "$$CO3_PHOTOS")

bench: export OMP_NUM_THREADS = 1
bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py

kill: export OMP_NUM_THREADS = 1
kill: $(STAMP)
	$(BIN)/python tests/kill/kill.py --kills $(KILLS)

clean:
	@if test -f "$(STAMP)" || test -f "$(OURS)" || test -f "$(MAKING)"; then rm -rf "$(VENV)" "$(MAKING)"; fi
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf $(addprefix results/,quickstart photos notebooks site browser)
	find co3lib co3cli co3course tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

# The stamp is there only while the environment is whole. Without it an environment is made from nothing, so a call
# that was interrupted half-way is repaired by the next one; with it, a changed pyproject.toml only adds what is missing.
$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "co3 needs Python 3.11 to 3.13, but there is no $(PYTHON); \
	name another one, as in: make demo PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c '$(SUPPORTED)'
	@test ! -f "$@" || touch "$(OURS)"
	@test ! -e "$(VENV)" || test -f "$(OURS)" || test -f "$(MAKING)" || { echo "$(VENV) is in the way: it is not a virtual \
	environment that was made here; remove it, or name another folder, as in: make demo VENV=.venv2" >&2; exit 1; }
	@test -f "$@" || touch "$(MAKING)"
	@test -f "$@" || "$(PYTHON)" -m venv --clear "$(VENV)" || { \
	echo "no ensurepip here; taking pip from $(PYTHON)" && "$(PYTHON)" -m venv --clear --without-pip "$(VENV)" && \
	"$(PYTHON)" -m pip --python "$(BIN)/python" install --quiet pip; }
	@touch "$(OURS)"
	@rm -f "$@" "$(MAKING)"
	@echo "Installing co3 into $(VENV): about two minutes, once."
	@"$(BIN)/python" -m pip install --disable-pip-version-check -e ".[test]"
	@touch "$@"
