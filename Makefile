# Everything runs in .venv, which is made on first use. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_FLAGS := --disable-pip-version-check -qq
TORCH := torch==2.13.0
DEMO := build/demo
# More arguments for pytest, such as: make test ARGS="tests/unit -k spec"
ARGS ?=

.PHONY: help
help:  ## list the targets
	@grep -hE '^[.a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# torch comes first and exactly: a looser demand may bring a newer one, with gigabytes of CUDA. Where no GPU is,
# its CPU build is looked for by its version, wherever pip looks for packages; then by uv, which knows where PyTorch
# publishes it. What is left is the build that bears the plain version.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hpo needs Python 3.11 or newer")'
	@echo "installing into $(VENV), which takes a minute or two ..."
	@$(PYTHON) -m venv $(VENV)
	@$(MAKE) torch
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev,postgres,mysql]'
	@touch $@

.PHONY: torch
torch:
	@pip="$(BIN)/python -m pip install $(PIP_FLAGS)"; \
	if nvidia-smi -L >/dev/null 2>&1; then $$pip -c constraints.txt '$(TORCH)'; \
	else $$pip -c constraints.txt '$(TORCH)+cpu' 2>/dev/null \
	  || { $$pip uv && UV_HTTP_TIMEOUT=30 $(BIN)/python -m uv pip install --quiet --python $(BIN)/python \
	       --torch-backend cpu -c constraints.txt '$(TORCH)' 2>/dev/null; } \
	  || $$pip -c constraints.txt '$(TORCH)'; \
	fi

.PHONY: .venv
.venv: $(INSTALLED)  ## make .venv and install hpo with what developing it needs

.PHONY: demo
demo: $(INSTALLED)  ## tune an MLP on handwritten digits: 60 trials, two processes
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	@$(BIN)/hpo run studies/digits_mlp.toml --storage sqlite:///$(DEMO)/hpo.db --workers 2
	@echo
	@echo "The study is in $(DEMO)/hpo.db. Look at it, or go on with it:"
	@echo "  export HPO_STORAGE=sqlite:///$(DEMO)/hpo.db"
	@echo "  $(BIN)/hpo best digits-mlp"
	@echo "  $(BIN)/hpo trials digits-mlp"
	@echo "  $(BIN)/hpo dashboard"
	@echo "  $(BIN)/hpo run studies/digits_mlp.toml --trials 100"

.PHONY: test
test: $(INSTALLED)  ## run the whole test suite
	@$(BIN)/python -m pytest -n 2 $(ARGS)

.PHONY: test-fast
test-fast: $(INSTALLED)  ## run the quick unit and property tests, in under two minutes
	@$(BIN)/python -m pytest -n 2 tests/unit tests/property -m "not slow" $(ARGS)

.PHONY: soak
soak: $(INSTALLED)  ## kill, freeze and cut off workers and servers for five minutes a database
	@HPO_SOAK_S=300 HPO_SOAK_TRIALS=2500 $(BIN)/python -m pytest -s tests/e2e/test_chaos.py

.PHONY: lint
lint: $(INSTALLED)  ## ruff, mypy --strict and the layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: check
check: lint test  ## lint, then test: what a change must pass

.PHONY: format
format: $(INSTALLED)  ## put the code into the house's format
	@$(BIN)/ruff check --fix --exit-zero .
	@$(BIN)/ruff format .

.PHONY: docs
docs: $(INSTALLED)  ## build the documentation as a site into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.PHONY: build
build: $(INSTALLED)  ## build the wheel and the sdist into dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation

# Only torch is held, since the others follow it; a new torch is chosen by hand, here and above.
.PHONY: pins
pins:  ## pin the newest versions of everything in constraints.txt
	@rm -rf build/pins && $(PYTHON) -m venv build/pins
	@$(MAKE) torch BIN=build/pins/bin
	@build/pins/bin/python -m pip install $(PIP_FLAGS) '$(TORCH)' -e '.[dev,postgres,mysql,object-stores,vision,bench]'
	@{ sed -n '/^#/p' constraints.txt; \
	   build/pins/bin/python -m pip --disable-pip-version-check freeze --all --exclude pip --exclude-editable | sed -E 's/\+[a-z0-9]+$$//'; } > build/pins.txt
	@mv build/pins.txt constraints.txt

.PHONY: clean
clean:  ## remove what was built, but not .venv
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
