# Two commands do everything on a fresh machine with Python 3.11 or newer:  make demo   and   make test
# Others:  make help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?=
TASK   ?= covid-3class
RUN    ?= runs/$(if $(DATA),$(TASK),demo)
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint pytest docs test-slow test-base bench reproduce mutants lock clean web web-test

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## install everything into .venv, pinned and hashed

$(VENV)/.ready: requirements/uv.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pocketcxr needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: setup ## teacher, distillation, evaluation, export, prediction, report; on drawings, or on DATA=folder TASK=name
ifeq ($(DATA),)
	$(BIN)/pocketcxr demo -o $(RUN)
else
	$(BIN)/pocketcxr distill --data $(DATA) --task $(TASK) -o $(RUN)
endif

test: setup lint docs web-test pytest ## lint, types, import contract, documentation, tests, those of the browser client too

lint: setup ## format, lint, types, layers, dependencies
	$(BIN)/ruff format --check --quiet src tests benchmarks research docs
	$(BIN)/ruff check --quiet src tests benchmarks research docs
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports
	$(BIN)/deptry src

docs: setup ## the documentation site: build/site/index.html; a broken link or reference is an error
	$(BIN)/sphinx-build -W --keep-going -n -E -q -d build/doctrees docs build/site

pytest: setup
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 -m "not slow and not gpu and not network"

web/node_modules/.ready: web/package-lock.json
	@command -v npm >/dev/null || { echo "the browser client needs Node.js 20.19 or newer with npm"; exit 1; }
	cd web && npm ci --no-audit --no-fund --loglevel=error
	touch $@

web: web/node_modules/.ready ## the browser client: web/dist to serve from anywhere, and a copy for pocketcxr serve
	cd web && npm run --silent package

web-test: setup ## types, unit tests and Chromium tests of the browser client
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web-test-all; \
	else echo "skipped: the browser client's tests need Node.js 20.19 or newer with npm, and there is none"; fi

.PHONY: web-test-all
web-test-all: web/node_modules/.ready
	cd web && npm run --silent types && npm run --silent unit
	cd web && CHROMIUM="$$(scripts/browser.sh chromium)" && FIREFOX="$$(scripts/browser.sh firefox)" && WEBKIT="$$(scripts/browser.sh webkit)" && export CHROMIUM FIREFOX WEBKIT PYTHON="$(abspath $(BIN)/python)" && npm run --silent browser && npm run --silent page

test-slow: setup ## the minutes-long tests too
	OMP_NUM_THREADS=1 $(PYTEST) -m "slow and not gpu"

test-base: setup ## predict from a wheel in an environment that has no training framework
	$(BIN)/python tests/check_base_install.py

bench: setup ## side-by-side comparisons, of the page too; tables on the screen, JSON under runs/benchmarks
	$(BIN)/python benchmarks/against_torchdistill.py
	$(BIN)/python benchmarks/predict_speed.py
	$(BIN)/python benchmarks/predict_growth.py
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory bench-page; else echo "skipped: the page, without Node.js"; fi

BASE ?= main

bench-compare: setup ## is this commit slower than BASE=commit? processor time of both by turns, kept in docs/results; status 1 above 10 %
	$(BIN)/python benchmarks/compare_commits.py $(BASE) --history docs/results/history.jsonl; status=$$?; $(BIN)/python research/results.py && exit $$status

.PHONY: bench-page bench-compare
bench-page: setup web/node_modules/.ready
	cd web && CHROMIUM="$$(scripts/browser.sh chromium)" && export CHROMIUM PYTHON="$(abspath $(BIN)/python)" && npm run --silent speed

reproduce: setup ## train all that the README speaks of again, from $$POCKETCXR_DATA; resumable; hours
	$(BIN)/python research/reproduce.py -o runs/reproduce

build/mutants/.ready: requirements/mutants.txt
	$(PYTHON) -m venv build/mutants/venv
	$(BIN)/uv pip install --quiet --python build/mutants/venv/bin/python --require-hashes -r requirements/mutants.txt
	touch $@

mutants: setup build/mutants/.ready ## change the modules that decide, and see whether tests notice; resumable; hours, or OPTIONS="--sample 30"
	build/mutants/venv/bin/python tests/mutation/mutants.py $(OPTIONS)

lock: setup ## pin again: requirements/*.txt with hashes, without any index address
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 pyproject.toml --extra train --extra parquet --extra serve --extra pacs --extra deidentify --extra search --extra tensorboard --group dev --group docs --generate-hashes --no-emit-index-url --no-header -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 pyproject.toml --generate-hashes --no-emit-index-url --no-header -o requirements/base.txt
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 pyproject.toml --extra pacs --generate-hashes --no-emit-index-url --no-header -o requirements/pacs.txt
	echo uv | $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 - --generate-hashes --no-emit-index-url --no-header -o requirements/uv.txt
	echo cosmic-ray | $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 - --generate-hashes --no-emit-index-url --no-header -o requirements/mutants.txt

clean: ## remove the environment and the caches; runs/ stays
	rm -rf $(VENV) build dist web/node_modules web/dist web/test-results .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
