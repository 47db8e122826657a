# `make demo` and `make test` do all set-up themselves, on a bare machine with Python 3.11 or newer; quick the second time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test docs surface audit sbom dist results-quick bench-gpu

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/mirage demo --overwrite

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# The site, into build/site; a link that leads nowhere fails it.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "see build/site/index.html"

# What other people's programs rely on, written anew: only where it is meant to change.
surface: setup
	$(BIN)/python tests/test_surface.py

# Tools that work from outside, so that they are no part of what they list. `audit` asks PyPI and needs a network.
TOOLS := .venv-audit

$(TOOLS)/.installed: Makefile
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'build>=1.3,<2' 'cyclonedx-bom>=7.2,<8' 'pip-audit>=2.9,<3' 'twine>=6.2,<7'
	touch $@

# Strict: where PyPI cannot be asked about a package it fails, and does not say that none has a known vulnerability.
audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --strict --desc off --no-deps --disable-pip -r constraints.txt

# pyproject.toml has no version, which stands in the code, and so the bill would not say of which release it is.
define WITH_VERSION
import json, sys, mirage
bill = json.load(open(sys.argv[1]))
bill["metadata"]["component"]["version"] = mirage.__version__
json.dump(bill, open(sys.argv[1], "w"), indent=2)
endef
export WITH_VERSION

sbom: setup $(TOOLS)/.installed
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/sbom.json $(BIN)/python
	$(BIN)/python -c "$$WITH_VERSION" dist/sbom.json

# The source distribution, and the wheel made from that and from nothing else.
dist: $(TOOLS)/.installed
	rm -f dist/*.whl dist/*.tar.gz
	$(TOOLS)/bin/python -m build --outdir dist
	$(TOOLS)/bin/twine check --strict dist/*.whl dist/*.tar.gz

results-quick: setup
	$(BIN)/python benchmarks/results.py

# Needs a CUDA device; without one it says so and exits with 2. `python benchmarks/gpu.py --tiny` runs anywhere.
bench-gpu: setup
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/gpu.py --record outputs/gpu
