# Every command of the project. CI calls nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run study server deploy worker bench bench-reference test test-all doctor soak check format lock gpu clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(VENV)/ready ## make .venv and install the locked dependencies

# uv installs in a fifth of pip's time; where it cannot (a private index that only pip knows), pip does.
$(VENV)/ready: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "error: Python must be 3.11, 3.12 or 3.13; received %d.%d; try: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	awk '/^uv==/ {on = 1} on && /# via/ {exit} on' requirements.lock > $(VENV)/uv.lock
	pip install --quiet --require-hashes --requirement $(VENV)/uv.lock
	uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirements requirements.lock \
	  || pip install --quiet --require-hashes --requirement requirements.lock
	@touch $@

# What an extra brings, beside the locked versions; pip takes no file with hashes as bounds.
define add-extra
sed -E '/^ *--hash/d; s/ *\\$$//' requirements.lock > $(VENV)/bounds.txt
pip install --quiet --constraint $(VENV)/bounds.txt --editable '.[$(1)]'
endef

run: setup ## train on real CIFAR-10 (dvc repro), then show the result
	@python -m tasks.params
	dvc repro
	@python -m flows.summary

study: setup ## compare the regularizers: study.compared × study.seeds, resumable, then the tables in reports/study
	python -m flows.study

# While the server runs, prefect.toml tells every Prefect command in this clone where it is.
PORT ?= 4200
server: setup ## a lasting Prefect server and its UI, on this machine only (PORT=4200)
	@python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2>/dev/null \
	  || { echo "error: port $(PORT) is taken, perhaps by a server that runs already; try: make server PORT=4201"; exit 1; }
	@printf '[api]\nurl = "http://127.0.0.1:%s/api"\n' $(PORT) > prefect.toml
	@trap 'rm -f prefect.toml' EXIT INT TERM HUP; prefect server start --host 127.0.0.1 --port $(PORT)

deploy: setup ## work pool, GPU limit and deployments, in the running server
	prefect work-pool create local --type process --overwrite
	prefect global-concurrency-limit inspect gpu >/dev/null 2>&1 || prefect global-concurrency-limit create gpu --limit 1
	PWD=$(CURDIR) prefect --no-prompt deploy --all

worker: setup ## run what the deployments are asked for
	prefect worker start --pool local

test: setup ## the tests, about 3 minutes in two processes
	pytest -m "not slow" --numprocesses 2 --dist loadfile

# By order, not by their number in a file: the soak is one test, the longest, and would begin last.
test-all: test ## also the slow tests: an epoch on the real data set
	pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: setup ## measure the ratios of docs/bench.json again; about an hour, after `make run`
	$(call add-extra,bench)
	python -m tests.bench

bench-reference: setup ## the notebook's 150 epochs, 3 seeds, into docs/reference.csv; hours, goes on where it stopped
	python -m tests.bench.reference

doctor: setup ## check everything that this folder keeps, by content, and repair what can be
	@python -m flows.doctor

soak: setup ## half an hour of random commands, kills and damage against one workspace
	SOAK_SECONDS=1800 pytest -m slow tests/faults/test_soak.py -s

check: setup ## lint, format and types
	ruff check .
	ruff format --check .
	mypy

format: setup ## rewrite the code in the house's format
	ruff check --fix .
	ruff format .

lock: setup ## refresh requirements.lock within the bounds of pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra dev pyproject.toml --output-file requirements.lock

gpu: setup ## add the CUDA libraries of TensorFlow's GPU build (Linux)
	$(call add-extra,gpu)

clean: ## remove .venv and caches; data, models and reports stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
