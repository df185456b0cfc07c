# Every target makes .venv where it is missing and installs what it needs; nothing but python3 with venv is required.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: benchmark test lint format clean
.DELETE_ON_ERROR:

benchmark: .venv/benchmark
	$(BIN)/python -m experiments.benchmark

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A stamp a set of extras: installed again when the requirements change. constraints.txt says which versions.
.venv/benchmark .venv/dev: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sfjax needs Python 3.11 or newer; this is $$($(PYTHON) --version). Name one: make PYTHON=python3.12 ..."; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(@F)]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis dist
