# residua: `make quickstart` to see it work, `make test` to see that it works.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

PIP_OPTIONS := --quiet --disable-pip-version-check --constraint constraints.txt

READERS := yaml toml json_recipe archive_file download_archive log json_files checkpoint \
	model_weights model_description exported_model artifacts

.PHONY: quickstart test test-all faults fuzz lint types records reproduce bench performance clean

quickstart: .stamps/core
	$(BIN)/residua train quickstart

test: .stamps/test
	$(BIN)/pytest -n 2 -m 'not slow and not extra'

# What `make test` leaves out, after it: the tests of every extra, and those that compare or time
# processes.
test-all: test .stamps/test-all
	$(BIN)/pytest -n 2 -m 'slow or extra'

# Trainings killed fifty times, and all other faults: about twenty minutes.
faults: .stamps/test
	$(BIN)/pytest tests/faults --kills 50 -rP

# Fuzzing for longer than `make test` does; with atheris where it installs, a minute a reader.
fuzz: .stamps/test
	$(BIN)/pytest tests/faults/test_fuzz.py --hypothesis-profile long --timeout 7200
	@$(BIN)/python -m pip install --quiet 'atheris>=3' || echo 'atheris does not install here'
	@! $(BIN)/python -c 'import atheris' 2>/dev/null || for reader in $(READERS); do \
		$(BIN)/python tests/faults/fuzz.py $$reader -max_total_time=60 || exit 1; done

lint: .stamps/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .stamps/dev
	$(BIN)/mypy

records: .stamps/core
	@$(BIN)/python benchmarks/records.py

reproduce: .stamps/core
	$(BIN)/python benchmarks/reproduce.py

# Compare with other libraries too. Nothing else should run on the machine meanwhile.
bench: .stamps/bench
	$(BIN)/python benchmarks/bench.py --output records/bench --also benchmarks/lightning_trainer.py \
		--augmenters benchmarks/kornia_batch.py benchmarks/albumentations_images.py \
		benchmarks/pillow_images.py

performance: .stamps/core
	@$(BIN)/python benchmarks/performance.py

clean:
	rm -rf $(VENV) .stamps

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.stamps/core: pyproject.toml constraints.txt $(BIN)/python
	$(BIN)/python -m pip install $(PIP_OPTIONS) --editable .
	@mkdir -p .stamps && touch $@

.stamps/test: .stamps/core
	$(BIN)/python -m pip install $(PIP_OPTIONS) --editable '.[test]'
	@touch $@

.stamps/test-all: .stamps/test
	$(BIN)/python -m pip install $(PIP_OPTIONS) --editable '.[test-all]'
	@touch $@

.stamps/bench: .stamps/core
	$(BIN)/python -m pip install $(PIP_OPTIONS) --editable '.[bench]'
	@touch $@

.stamps/dev: .stamps/test
	$(BIN)/python -m pip install $(PIP_OPTIONS) --editable '.[dev]'
	@touch $@
