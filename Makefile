# `make demo` paints the example photographs, `make test` runs the tests, `make check` is what CI runs, `make cover` counts what tests reach, `make bench` measures, `make fuzz` searches for faults.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check cover format bench fuzz clean

demo: .venv/core
	@for style in $$($(BIN)/limner styles --names); do $(BIN)/limner apply examples/photos -o demo-out/$$style -s $$style --overwrite || exit; done
	@$(BIN)/limner sheet examples/photos -o demo-out/sheet.jpg --overwrite

test: .venv/dev
	$(BIN)/python -m pytest

check: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest

cover: .venv/dev
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered

format: .venv/dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: .venv/dev
	$(BIN)/python benchmarks/apply.py
	$(BIN)/python benchmarks/live.py
	$(BIN)/python benchmarks/int8.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/folder.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/train.py cyclegan
	$(BIN)/python benchmarks/edges.py
	$(BIN)/python benchmarks/npz.py
	$(BIN)/python benchmarks/serve.py

# SECONDS for each kind of file; `make fuzz SECONDS=60` is a short look.
SECONDS ?= 600
fuzz: .venv/dev
	$(PIP) 'atheris>=2.3'
	$(BIN)/python fuzz/fuzz.py --seconds $(SECONDS)

clean:
	rm -rf .venv demo-out

# Applying needs no torch: the demo installs only what `pip install .` does.
.venv/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/dev: .venv/core
	$(PIP) --editable '.[dev]'
	@touch $@
