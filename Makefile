# Clew's commands. `make run` and `make test` set up all they need; a step whose inputs have not changed is skipped.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMPS := .stamps
MODEL ?= smollm2
PORT ?= 7410

# Any Python from 3.11 on; PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

PAGE := src/clew/_static/index.html
PAGE_SOURCES := $(shell find web -type f -not -path 'web/node_modules/*' -not -path 'web/dist/*' -not -name '*.tsbuildinfo' 2>/dev/null)

.PHONY: help run test check bench dev setup page model browser format types clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: setup page model ## Start Clew in the browser, with the default model
	@$(BIN)/clew serve --model $(MODEL) --port $(PORT) --open

test: setup page model browser ## Run every test, in Python, TypeScript and a real browser
	@cd web && npm test --silent
	@CLEW_CHROMIUM="$$(cat $(STAMPS)/browser)" $(BIN)/python -m pytest $(ARGS)

check: setup $(STAMPS)/node ## Linters, types, import rules, drift of openapi.json and generated types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m clew.server.openapi --check
	cd web && npm run --silent check && npm run --silent types:check

bench: setup model ## Measure speed and memory against the bare model
	@$(BIN)/python -m benchmarks $(ARGS)

dev: setup $(STAMPS)/node model ## Server with reload and the page's dev server, both behind one command
	@trap 'kill 0' EXIT INT TERM; \
	$(BIN)/clew serve --model $(MODEL) --port $(PORT) --no-open --reload & \
	(cd web && CLEW_PORT=$(PORT) npm run --silent dev) & \
	wait

format: setup $(STAMPS)/node ## Format Python and TypeScript
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd web && npm run --silent format

types: setup $(STAMPS)/node ## Regenerate openapi.json and the TypeScript types made from it
	$(BIN)/python -m clew.server.openapi
	cd web && npm run --silent types

clean: ## Remove everything that was built here (not the models)
	rm -rf $(STAMPS) $(VENV) web/node_modules src/clew/_static dist

setup: $(STAMPS)/python

page: $(PAGE)

$(STAMPS)/python: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Clew needs Python 3.11 or newer: install it, or name one with PYTHON=/path/to/python." >&2; exit 1; }
	@mkdir -p $(STAMPS)
	@test -x $(BIN)/python || { echo "Making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the pinned packages"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/node: web/package.json web/package-lock.json
	@command -v npm >/dev/null 2>&1 && node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20)' || \
		{ echo "Clew's page needs Node 20 or newer with npm: install it from your system's packages or nodejs.org." >&2; exit 1; }
	@mkdir -p $(STAMPS)
	@echo "Installing the page's packages"
	@cd web && npm ci --silent --no-fund --no-audit
	@touch $@

$(PAGE): $(STAMPS)/node $(PAGE_SOURCES)
	@echo "Building the page"
	@cd web && npm run --silent build
	@touch $@

# The model is looked for each time: its folder may have been removed, and a pull that has nothing to do is quick.
model: setup
	@$(BIN)/clew pull $(MODEL) --quiet

browser: setup
	@mkdir -p $(STAMPS)
	@scripts/find_chromium.sh $(BIN)/python > $(STAMPS)/browser
