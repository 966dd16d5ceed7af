# make bench   set up .venv if need be, run the quick comparison, print its table
# make speed   set up .venv if need be, measure speeds beside other projects
# make test    set up .venv if need be, run the tests
# make test-cluster   those that start two Ray nodes, a minute or two
# make examples  run the scripts in examples/ on small budgets
# make lint    ruff, mypy, import-linter
# make docs    the documentation site, into build/docs
# make format  let ruff format and fix
# make setup   only the set-up;  PYTHON=python3.12 chooses the interpreter

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# envs/ and benchmarks/ are installed inside mbrl_agents; type checker and import linter look at
# a tree of links that has that shape.
TREE := build/tree
SOURCES := mbrl_agents envs benchmarks examples scripts tests docs setup.py
TEST_WORKERS ?= 2
BENCH_OPTIONS ?=

.PHONY: help setup bench speed test test-cluster examples lint docs format clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,9s/^# //p' $(firstword $(MAKEFILE_LIST))

setup: $(READY)

$(READY): pyproject.toml setup.py scripts/setup.sh scripts/build_tools.sh
	@scripts/setup.sh $(VENV)
	@touch $@

bench: $(READY)
	@$(BIN)/mbrl bench quick --out runs/quick $(BENCH_OPTIONS)

speed: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/mbrl bench speed --out runs/speed

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 40

test-cluster: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster tests/data/test_cluster.py tests/benchmarks/test_engines.py

examples: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_WORKERS) -m examples tests/test_example_scripts.py

lint: $(READY)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@rm -rf $(TREE) && mkdir -p $(TREE)/mbrl_agents
	@ln -s $(CURDIR)/mbrl_agents/* $(CURDIR)/envs $(CURDIR)/benchmarks $(TREE)/mbrl_agents/
	@ln -s $(CURDIR)/examples/linear_model/linear_model $(TREE)/
	cd $(TREE) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p mbrl_agents -p linear_model
	cd $(TREE) && $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml

# A warning is an error: what a page or docstring refers to has to be there.
docs: $(READY) $(VENV)/.docs
	@rm -rf build/docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs
	MBRL_SITE=build/docs OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadfile -m docs tests/docs/test_site.py tests/test_readme.py
	@echo "build/docs/index.html"

$(VENV)/.docs: pyproject.toml | $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

format: $(READY)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
