# SPDX-License-Identifier: Apache-2.0
# What a person does with this folder. The work is in tools/; each target says what it does in its `##` line (make help).

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := src tests
export PYTHON

# A moved or copied folder carries an environment that points to the old place: it is made anew.
ifneq ($(file <$(VENV)/.root),$(CURDIR))
MOVED := moved
endif

.DEFAULT_GOAL := help
.PHONY: help run env check test e2e long fuzz fmt lock notices docs clean moved

help: ## these lines
	@sed -n 's/^\([a-z0-9]*\):.*## /  make \1\t/p' Makefile | expand -t 18

run: $(VENV)/.run ## start a trial server on this machine (make run ARGS='--dir X --base-port N')
	@exec $(BIN)/moatmail try $(ARGS)

env: $(VENV)/.dev ## make the environment for development (.venv)

$(VENV)/.run: $(MOVED) requirements.lock requirements-build.lock pyproject.toml
	@if [ -e $(VENV)/.dev ]; then tools/environment dev && touch $(VENV)/.dev; else tools/environment run; fi && touch $@

$(VENV)/.dev: $(MOVED) requirements-dev.lock requirements-build.lock pyproject.toml
	@tools/environment dev && touch $(VENV)/.run $@

moved:

check: $(VENV)/.dev ## style, types, floors, architecture, RFC index, fresh documents (fast)
	@tools/check

test: $(VENV)/.dev ## the first tier: engines, store, rules; at most 15 min (ARGS='-k word' goes to pytest)
	@tools/packages && tools/tier test $(ARGS)

e2e: $(VENV)/.dev ## the second tier: real server, real clients, real peers; at most 60 min
	@tools/packages && tools/tier e2e $(ARGS)

long: $(VENV)/.dev ## the third tier: hours, before a release
	@tools/packages && tools/tier long $(ARGS)

fuzz: $(VENV)/.dev ## every parser against hostile bytes (FUZZ_SECONDS=60 each; ARGS='fuzz_header' takes one)
	@tools/fuzz $(ARGS)

bench: $(VENV)/.dev ## ours and Postfix + Dovecot in one run (root, Debian packages, MOATMAIL_BENCH)
	@$(BIN)/python tools/bench $(ARGS)

fmt: $(VENV)/.dev ## bring the sources into form
	@$(BIN)/ruff check --fix --quiet $(SOURCES) tools && $(BIN)/ruff format --quiet $(SOURCES) tools

lock: ## renew the locks (ARGS=--upgrade takes the newest versions)
	@tools/lock $(ARGS)

notices: $(VENV)/.dev ## renew THIRD-PARTY-NOTICES.md from the installed packages
	@$(BIN)/python tools/notices.py

docs: $(VENV)/.dev ## renew the documents that are printed from the code (example configuration)
	@$(BIN)/python -c 'from moatmail.core.settings.document import example; print(example(), end="")' >docs/.example && mv docs/.example docs/example-moatmail.toml
	@$(BIN)/python -c 'from moatmail.core.settings.document import settings_page; print(settings_page(), end="")' >docs/.settings && mv docs/.settings docs/settings.md

clean: ## remove what tests, checks and builds left (not .venv)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov dist build reports
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
