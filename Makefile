# The shop's verbs. `make` alone lists them. Needs GNU make and Python 3.11 or newer; everything else
# is put into .venv. Another Python: make demo PYTHON=/path/to/python3.12

PYTHON ?= python3
# Passed on: make demo ARGS=--verbose, make test ARGS="-k restock -x" TESTS=tests/unit
ARGS ?=
TESTS ?= $(wildcard engine/tests tests/unit tests/eager tests/docs tests/examples tests/model tests/broker)
MINUTES ?= 2
ROUNDS ?= 1
SEED ?= 1
SERVICE ?= users

VENV := .venv
PY := $(VENV)/bin/python
RUNS := $(VENV)/.installed
DEVELOPS := $(VENV)/.installed-dev
# What only `make bench` needs has a .venv of its own.
BENCH_VENV := .venv-bench
COMPARES := $(BENCH_VENV)/.installed
# So has what builds the documents: it needs nothing of the shop.
DOCS_VENV := .venv-docs
WRITES := $(DOCS_VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo up down status env trip test test-eager test-broker test-docker model mutants crash soak restore-drill bench docs package lint types format clean

help: ## List these verbs
	@echo "make …"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r verb words; do printf '  %-13s %s\n' "$$verb" "$$words"; done

setup: $(DEVELOPS) ## Make .venv and install what is missing there
	@echo "$(VENV) is ready"

demo: $(RUNS) ## Start a shop of its own, show it at work, stop it (some 20 s)
	@exec $(PY) -m embedded demo $(ARGS)

up: $(RUNS) ## Run the shop here until Ctrl-C
	@exec $(PY) -m embedded up

down: $(RUNS) ## Stop the shop from another terminal
	@exec $(PY) -m embedded down

status: $(RUNS) ## Show what runs, and where
	@$(PY) -m embedded status $(ARGS) || test $$? -eq 3

env: $(RUNS) ## Print a service's variables: eval "$(make env)", or make env SERVICE=orders
	@exec $(PY) -m embedded env $(SERVICE)

trip: $(RUNS) ## Show the travel agency of examples/trip (some 20 s)
	@exec $(PY) -m examples.trip demo $(ARGS)

test: $(DEVELOPS) ## Run the tests; the last lines name what was skipped and why
	@exec $(PY) -m $(if $(ARGS)$(filter-out file,$(origin TESTS)),pytest -ra $(TESTS) $(ARGS),tests.side_by_side)

test-eager: $(DEVELOPS) ## Of these, what runs in one process, on real PostgreSQL (5 min)
	@exec $(PY) -m pytest -ra -m "not slow" $(ARGS)

test-broker: $(DEVELOPS) ## Real workers on a real broker: make test-broker BROKER=redis, or rabbitmq, or both without
	@exec $(PY) -m pytest -ra tests/broker $(if $(BROKER),--broker $(BROKER)) $(ARGS)

test-docker: $(DEVELOPS) ## Run the tests in containers (minutes); without a Docker engine they are skipped
	@exec $(PY) -m pytest -ra tests/docker $(ARGS)

model: $(DEVELOPS) ## Explore the protocol's state machine exhaustively (minutes)
	@exec $(PY) -m tests.model $(ARGS)

mutants: $(DEVELOPS) ## Take each protection out in turn: a named test must fail (minutes)
	@exec $(PY) -m tests.mutants $(ARGS)

crash: $(DEVELOPS) ## Every fault at every failpoint; ARGS=--short kills at each point once (4 min)
	@exec $(PY) -m tests.crash $(ARGS)

soak: $(DEVELOPS) ## Random work under random faults: make soak MINUTES=10 SEED=7
	@exec $(PY) -m tests.crash.soak --minutes $(MINUTES) --seed $(SEED) $(ARGS)

restore-drill: $(DEVELOPS) ## Destroy a shop under load, put it back from its backups: make restore-drill ROUNDS=3 SEED=7
	@exec $(PY) -m tests.crash.restore_drill --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

bench: $(RUNS) $(COMPARES) ## Measure against others: make bench ARGS=--quick, or ARGS="removal --out removal.json"
	@exec $(PY) -m benchmarks $(ARGS)

docs: $(WRITES) ## Build the documents into site/, and check every link in them
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict $(ARGS)
	@echo "site/index.html is ready; its search needs a server: python3 -m http.server -d site"

package: $(DEVELOPS) ## Build the engine's wheel and sdist, and test them where nothing of the shop is
	@exec $(PY) -m tests.package

lint: $(DEVELOPS) ## Check style and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(DEVELOPS) ## Check types
	@$(PY) -m mypy
	@$(PY) -m mypy embedded local_servers examples

format: $(DEVELOPS) ## Put the code into format, with the lint that repairs itself
	@$(PY) -m ruff check --fix-only --quiet .
	@exec $(PY) -m ruff format .

clean: ## Stop the shop; remove .venv, .venv-bench, .venv-docs, site, caches and all data (.embedded, .trip)
	@if [ -x $(PY) ] && [ -e .embedded ]; then EMBEDDED_STATE=.embedded $(PY) -m embedded down; fi
	@rm -rf $(VENV) $(BENCH_VENV) $(DOCS_VENV) site .embedded .trip .pytest_cache .mypy_cache .ruff_cache
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv. A stamp is newer than the requirements that it says are installed.

ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
FAIL := fail() { echo "$$*" >&2; exit 1; }

define install
	@echo "installing $< into $(VENV) …"
	@$(PY) -m pip install --disable-pip-version-check --no-input --progress-bar off -r $< \
		>$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log; echo "pip could not install $<: see above"; exit 1; } >&2
	@touch $@
endef

$(RUNS): requirements.txt requirements-services.txt engine/pyproject.toml $(VENV)/.made
	$(install)

$(DEVELOPS): requirements-dev.txt $(RUNS)
	$(install)

$(COMPARES): requirements-bench.txt requirements-services.txt $(RUNS)
	@test -x $(BENCH_VENV)/bin/python || $(PY) -m venv $(BENCH_VENV)
	@echo "installing $< into $(BENCH_VENV) …"
	@$(BENCH_VENV)/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off -r $< \
		>$(BENCH_VENV)/pip.log 2>&1 || { cat $(BENCH_VENV)/pip.log; echo "pip could not install $<: see above"; exit 1; } >&2
	@touch $@

$(WRITES): requirements-docs.txt $(VENV)/.made
	@test -x $(DOCS_VENV)/bin/python || $(PY) -m venv $(DOCS_VENV)
	@echo "installing $< into $(DOCS_VENV) …"
	@$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off -r $< \
		>$(DOCS_VENV)/pip.log 2>&1 || { cat $(DOCS_VENV)/pip.log; echo "pip could not install $<: see above"; exit 1; } >&2
	@touch $@

# A .venv that works is kept. One that is half made, or whose Python has gone, is made anew.
$(VENV)/.made: $(PY)
	@$(FAIL); set -e; \
	if ! $(PY) -c '$(ENOUGH)' 2>/dev/null || ! $(PY) -m pip --version >/dev/null 2>&1; then \
		command -v "$(PYTHON)" >/dev/null || \
			fail "No $(PYTHON) here: install Python 3.11 or newer, or say which: make PYTHON=/path/to/python3"; \
		version=$$("$(PYTHON)" -V 2>&1) && "$(PYTHON)" -c '$(ENOUGH)' || \
			fail "$(PYTHON) is $$version, too old: install Python 3.11, or say which: make PYTHON=/path/to/python3"; \
		"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
			fail "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv), or say PYTHON=…"; \
		echo "making $(VENV) with $$version …"; \
		"$(PYTHON)" -m venv --clear $(VENV); \
	fi
	@touch $@

$(PY): ;
