# `make run` and `make test` do all set-up themselves. Python 3.11 and make are all that must be there before.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BUTTERQUANT_HOME ?= home
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: install run ui test test-slow soak lint format bench lock clean help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(INSTALLED) ## build the environment from the lock file

# torch comes first and brings what its build needs (a CPU build where pip finds one); all else exactly as locked.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info[:2] == (3, 11), f"Python 3.11 is needed, this is {sys.version.split()[0]}: set PYTHON=/path/to/python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock 'torch==2.13.0' 2> >(grep -v 'is neither a file nor a directory' >&2)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock 2> >(grep -v 'is neither a file nor a directory' >&2)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . 2> >(grep -v 'is neither a file nor a directory' >&2)
	@# What pip does for packages: compiled once, instead of by every process where PYTHONDONTWRITEBYTECODE is set.
	@$(BIN)/python -m compileall -q butterquant_assets && $(BIN)/python -m butterquant_assets.foundation.module_source
	@touch $@

run: $(INSTALLED) ## bring the whole graph up to date on the embedded data (home: ./home)
	$(BIN)/butterquant run --home $(BUTTERQUANT_HOME)

ui: $(INSTALLED) ## Dagster's webserver and daemon over the same home, http://127.0.0.1:3000
	$(BIN)/butterquant ui --home $(BUTTERQUANT_HOME)

test: $(INSTALLED) ## all quick tests
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED) ## real data, kills, services
	$(PYTEST) --no-loadscope-reorder -m slow

soak: $(INSTALLED) ## 200 random SIGKILLs, an hour or more; goes on where it was stopped (SOAK="--kills 40 --seed 3")
	$(BIN)/python -m butterquant_tests.faults.soak $(SOAK)

lint: $(INSTALLED) ## ruff, mypy strict on pure modules, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy butterquant_assets
	$(BIN)/lint-imports

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## ours beside the reference; also written to build/bench.json
	$(BIN)/python -m benchmarks.run

lock: $(INSTALLED) ## write requirements.lock from what is installed
	@sed -n '/^#/p' requirements.lock > build.lock.tmp
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -E '^nvidia-' | sed 's/^torch==.*/torch==2.13.0/' >> build.lock.tmp
	mv build.lock.tmp requirements.lock

clean: ## remove the environment, caches and build results; the home directory stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
