# `make demo` and `make test` do all set-up themselves, on a bare machine with Python 3.11 or newer; quick the second time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test docs results-quick bench-gpu

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/mirage demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# The site, into build/site; a link that leads nowhere fails it.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "see build/site/index.html"

results-quick: setup
	$(BIN)/python benchmarks/results.py

# Needs a CUDA device; without one it says so and exits with 2. `python benchmarks/gpu.py --tiny` runs anywhere.
bench-gpu: setup
	$(BIN)/python benchmarks/gpu.py
