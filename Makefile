# demo and test each set up their own environment in .venv; nothing needs to be installed before.
PYTHON ?= python3
BIN := .venv/bin
# Not compiled: Python compiles what is imported, which is a part of it.
# And keeps it: where this is set, each process of the tests compiles torch anew, for 20 s.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check

.PHONY: demo test lint clean

demo: .venv/.installed
	$(BIN)/pingraph demo --out runs/demo-$(shell date +%Y%m%d-%H%M%S)

test: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m compileall -q pingraph encoders samplers experiments
	$(BIN)/pytest -n 2 --dist loadgroup

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -c constraints.txt "setuptools>=77"
	$(PIP) -c constraints.txt -e ".[demo,dgl,dev]"
	touch $@

# Type checkers cannot follow the mapping of folders to packages: they check an installed copy.
# An older build would be checked beside the files of today.
lint: .venv/.installed
	rm -rf .typed build
	$(PIP) --no-deps --upgrade --target .typed .
	$(BIN)/mypy

clean:
	rm -rf .venv .typed build dist *.egg-info
