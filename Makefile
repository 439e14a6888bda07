# Every target has a help line; `make` alone prints them. Python 3.11 or later is all that is needed.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
TASK ?=
REFERENCE ?=
BUILD ?=
TESTS ?=
WHEELHOUSE ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LAUNCHER := $(BIN)/python -m launcher
OPTIONS = $(if $(TASK),--task $(TASK))
FROM = $(if $(REFERENCE),--reference $(REFERENCE))
TORCH := $(shell sed -n 's/^torch==//p' requirements.lock)
TORCH_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help
help: ## Print this help
	@echo 'Targets; TASK=resnet|bert and REFERENCE=clone, archive or URL where they apply:'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: setup
setup: $(INSTALLED) ## Make .venv from requirements.lock, torch for CPU; offline with WHEELHOUSE=folder

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, not " + sys.version.split()[0] + "; say make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	@index='--extra-index-url $(TORCH_INDEX)'; \
	 if $(BIN)/pip install -q --no-index --dry-run --no-deps torch==$(TORCH) >/dev/null 2>&1; then index=; fi; \
	 if [ -n "$(WHEELHOUSE)" ]; then index="--no-index --find-links $(WHEELHOUSE)"; fi; \
	 set -x; $(BIN)/pip install -q --no-compile --disable-pip-version-check -r requirements.lock $$index
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: setup ## Rehearse both benchmarks (5 + 10 runs), score and report them; no GPU and no Docker needed
	$(LAUNCHER) demo

.PHONY: test
test: setup ## Run every test that can run here; says what was skipped and why
	$(BIN)/python -m pytest -q $(FROM) $(TESTS)

.PHONY: coverage
coverage: setup ## Measure the core's branch coverage; less than 100 % fails
	$(BIN)/python -m pytest -q tests/core --cov=launcher.core --cov-branch --cov-report=term-missing --cov-fail-under=100

.PHONY: lint
lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: setup ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: images
images: setup ## Build both images; more options in BUILD="--base-image ... --wheelhouse ..."
	$(LAUNCHER) images build $(OPTIONS) $(FROM) $(BUILD)

.PHONY: tree
tree: setup ## Make the full source tree in build/<task>, one commit per patch
	$(LAUNCHER) tree $(OPTIONS) $(FROM)

.PHONY: patches
patches: setup ## Write the commits of build/<task> back to patches/
	$(LAUNCHER) patches $(OPTIONS)

.PHONY: check-patches
check-patches: setup ## Apply every patch and export again: every byte must come back
	$(LAUNCHER) check-patches $(OPTIONS) $(FROM)

.PHONY: lock
lock: setup ## Resolve every version again and write the lock files
	$(BIN)/python .ci/lock.py

.PHONY: ci
ci: ## Do what CI does, from an engine to the last test
	.ci/run

.PHONY: clean
clean: ## Remove environments, caches and build contexts; trees, results and data stay
	rm -rf $(VENV) build/image build/reference dist *.egg-info .coverage
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find launcher tests patches benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
