# Clew's commands. `make run` and `make test` set up all they need; a step whose inputs have not changed is skipped.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
MODEL ?= smollm2
PORT ?= 7410

# Any Python from 3.11 on; PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for p in python3 python python3.13 python3.12 python3.14 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

# Each lies in what it vouches for, so that removing the folder undoes the step. npm writes the second one itself.
INSTALLED := $(VENV)/.installed
PACKAGES := web/node_modules/.package-lock.json
PAGE := src/clew/_static/index.html

# Folders count as well: they change when a file goes away.
PAGE_SOURCES := $(wildcard web/*.*) $(shell find web/src web/public 2>/dev/null)

# What Vite runs on: 20.19 and later of 20, or 22.12 and later.
NODE_FITS := const [major, minor] = process.versions.node.split(".").map(Number); \
	process.exit((major == 20 && minor >= 19) || (major == 22 && minor >= 12) || major > 22 ? 0 : 1)

QUIETLY := $(shell test -t 2 || echo --quiet)

.PHONY: help run test check bench dev format types lock clean setup packages page model browser

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: setup page model ## Start Clew in the browser, with the default model
	@$(BIN)/clew serve --model $(MODEL) --port $(PORT)

test: setup page model browser ## Run every test, in Python, TypeScript and a real browser; ARGS goes to pytest
	@cd web && npm test --silent
	@CLEW_CHROMIUM="$$(cat $(VENV)/browser)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
		--numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

check: setup packages ## Linters, types, import rules, drift of openapi.json and generated types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m clew.server.openapi --check
	cd web && npm run --silent check && npm run --silent types:check

bench: setup page model ## Measure speed and memory against the bare model; ARGS goes to the benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

dev: setup packages model ## Server with reload and the page's dev server, both behind one command
	@$(BIN)/python scripts/dev.py --model $(MODEL) --port $(PORT)

format: setup packages ## Format Python and TypeScript
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd web && npm run --silent format

types: setup packages ## Regenerate openapi.json and the TypeScript types made from it
	$(BIN)/python -m clew.server.openapi
	cd web && npm run --silent types

lock: setup ## Resolve requirements.lock anew from pyproject.toml
	$(BIN)/python scripts/lock.py

clean: ## Remove everything that was built here (not the models)
	rm -rf $(VENV) web/node_modules src/clew/_static dist

setup: $(INSTALLED)

packages: $(PACKAGES)

page: $(PAGE)

$(INSTALLED): pyproject.toml requirements.lock hatch_build.py
	@test -n "$(PYTHON)" || { echo "Clew needs Python 3.11 or newer: install it, or name one with PYTHON=/path/to/python." >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "Making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) could not make a virtual environment: install its venv module (on Debian: apt-get install python3-venv)." >&2; exit 1; }; }
	@echo "Installing the pinned packages: a few minutes the first time, PyTorch is large"
	@$(BIN)/python -m pip install $(QUIETLY) --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(PACKAGES): web/package.json web/package-lock.json
	@command -v npm >/dev/null 2>&1 && node -e '$(NODE_FITS)' || { \
		echo "Clew's page needs Node 20.19 or 22.12 or newer, with npm: install it from your system's packages or nodejs.org." >&2; exit 1; }
	@echo "Installing the page's packages"
	@cd web && npm ci --silent --no-fund --no-audit
	@touch $@

$(PAGE): $(PACKAGES) $(PAGE_SOURCES)
	@echo "Building the page"
	@cd web && npm run --silent build -- --logLevel warn
	@touch $@

# The model is looked for each time, since its folder may have been removed; when it is there this takes a moment.
model: setup
	@$(BIN)/clew pull $(MODEL) >/dev/null

browser: setup
	@scripts/find_chromium.sh $(BIN)/python >$(VENV)/browser
