# Two commands do all the set-up: `make daily` and `make test`. Both build .venv with the pinned versions when needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest

.PHONY: install daily test check bench dashboard clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "raytrain needs Python 3.11 to 3.13, this is %d.%d; name another with PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $@

daily: install
	$(BIN)/python -m raytrain.jobs.daily --config configs/demo.yaml

# One process loads one engine, so the suite runs once per engine.
test: install
	$(PYTEST) -m "not native and not torch and not keras and not cluster"
	$(PYTEST) -m "native and not cluster"
	$(PYTEST) -m "torch and not cluster"
	$(PYTEST) -m "keras and not cluster"
	$(PYTEST) -m cluster

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	set -e; for file in $$(ls benchmarks/bench_*.py); do $(BIN)/python $$file; done

dashboard: install
	$(BIN)/python -m raytrain.jobs.dashboard --config configs/demo.yaml

clean:
	rm -rf $(VENV) store build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
