# residua: `make quickstart` to see it work, `make test` to see that it works.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test lint types records reproduce clean

quickstart: .stamps/core
	$(BIN)/residua train quickstart

test: .stamps/test
	$(BIN)/pytest -n 2

lint: .stamps/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .stamps/dev
	$(BIN)/mypy

records: .stamps/core
	@$(BIN)/python benchmarks/records.py

reproduce: .stamps/core
	$(BIN)/python benchmarks/reproduce.py

clean:
	rm -rf $(VENV) .stamps

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.stamps/core: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@mkdir -p .stamps && touch $@

.stamps/test: .stamps/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

.stamps/dev: .stamps/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
