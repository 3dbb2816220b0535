# Every command of the project. CI calls nothing else. Paths are relative, so that a folder may have any name, and every
# program of .venv is called by its path: some makes do not search the PATH that they export.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Personal settings of Python and pip that would install elsewhere, or other things.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run study study-few server deploy worker bench bench-reference bench-gpu test test-slow test-all test-pythons doctor soak check format graph lock gpu clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 17

setup: $(VENV)/ready ## install the locked dependencies into .venv

# A clone that was moved, or whose Python was upgraded away, has an environment that cannot be used: it is made again.
where = cd $(VENV) && pwd -P
ifneq ($(shell exec 2>/dev/null; [ "$$(cat $(VENV)/ready)" = "$$($(where))" ] && $(BIN)/python -c '' && echo usable),usable)
.PHONY: $(VENV)/ready
endif

# uv installs in a fifth of pip's time; where it cannot (a private index that only pip knows), pip does. The lock names
# everything, so pip has nothing to resolve, at which it would fail: with hashes it takes `sqlalchemy[asyncio]` for another.
# The hook sanitizes the environment of `dvc` and `prefect`, and checks the images before `dvc` reads them
# (tasks/run/environment.py). Python executes it at each start; for every other program, such as a script of yours, it
# does nothing.
hook = import os, sys; \
  program = [name for name in map(os.path.basename, sys.orig_argv) if name[:1] != "-"][1:2]; \
  file = os.path.join(os.path.dirname(sys.prefix), "tasks", "run", "environment.py"); \
  program in (["dvc"], ["prefect"]) and os.path.exists(file) and __import__("runpy").run_path(file, run_name="environment")
$(VENV)/ready: requirements.lock
	@command -v git >/dev/null || { echo "error: git must be installed, and is not"; exit 2; }
	@git rev-parse --git-dir >/dev/null || { echo 'error: git must take this folder for a repository, as DVC keeps its' \
	  'history there; clone it, or run: git init && git add --all && git commit --message "Start"'; exit 2; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "error: Python must be 3.11, 3.12 or 3.13; received %d.%d; try: make PYTHON=python3.12" % v)'
	@rm -f $@
	"$$("$(PYTHON)" -c 'import sys; print(sys._base_executable)')" -m venv --clear $(VENV)
	@echo '$(hook)' \
	  > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/environment.pth"
	@awk '/^uv==/ {on = 1} on && /# via/ {exit} on' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $(VENV)/uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirements requirements.lock \
	  || $(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	@ready=$$($(where)) && printf '%s' "$$ready" > $@

# What an extra brings, beside the locked versions; pip takes no file with hashes as bounds.
define add-extra
sed -E '/^ *--hash/d; s/ *\\$$//' requirements.lock > $(VENV)/bounds.txt
$(BIN)/python -m pip install --quiet --constraint $(VENV)/bounds.txt --editable '.[$(1)]'
endef

run: setup ## train on CIFAR-10 (dvc repro runs what is stale), then show the result
	@$(BIN)/python -m tasks.params
	$(BIN)/dvc repro
	@$(BIN)/python -m flows.summary

study: setup ## compare the regularizers, one to two hours; tables and figures in reports/study
	$(BIN)/python -m flows.study

study-few: setup ## compare training from scratch, a probe and fine-tuning on few images, into reports/study-few
	$(BIN)/python -m flows.study --name few --variants scratch,probe,fine_tune --seeds 5

# While the server runs, prefect.toml tells every Prefect command in this clone where it is. HOST and DATABASE are taken
# from the command line alone, as some shells have variables of these names; no password appears among the processes.
HOST = 127.0.0.1
PORT ?= 4200
DATABASE =
ifneq ($(DATABASE),)
server: export PREFECT_SERVER_DATABASE_CONNECTION_URL = $(DATABASE)
endif
server: setup ## start a Prefect server and its UI for this machine (HOST=127.0.0.1 PORT=4200 DATABASE=)
	@$(BIN)/python -m flows.server --host '$(HOST)' --port '$(PORT)'

# Prefect's advice is not shown: its own workers know neither queues nor resources of trials.
define quietly
said=$$($(1) 2>&1) || { echo "$$said" >&2; exit 1; }
endef
deploy: setup ## create work pools, the GPU limit and deployments in the running server
	@$(call quietly,$(BIN)/prefect work-pool create local --type process --overwrite)
	@$(call quietly,$(BIN)/prefect work-pool create study --type process --overwrite)
	@$(BIN)/prefect global-concurrency-limit inspect gpu >/dev/null 2>&1 \
	  || { $(call quietly,$(BIN)/prefect global-concurrency-limit create gpu --limit 1); }
	@$(BIN)/python -m flows.server.schedules  # prefect.yaml says which there are
	@$(call quietly,PWD="$(CURDIR)" $(BIN)/prefect --no-prompt deploy --all)
	@echo 'the server has the deployments of prefect.yaml; next, in a terminal of its own: make worker'

SERVER =
LIMIT =
worker: setup ## run flows for this machine's server, or trials for another's (SERVER=http://HOST:4200/api LIMIT=)
	@$(BIN)/python -m flows.cluster.worker $(if $(SERVER),--server '$(SERVER)') $(if $(LIMIT),--limit '$(LIMIT)')

# Two processes, a file to each in turn. In their order: by their number of tests the longest would begin last.
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test: setup ## run the quick tests, two minutes
	$(PYTEST) -m "not slow"

test-slow: setup ## run the tests of real runs, servers and faults, a quarter of an hour
	$(PYTEST) --no-loadscope-reorder -m "slow and not long and not timing"

test-all: test test-slow test-pythons ## run every test: also the longest, those that measure time, and other Pythons
	$(PYTEST) --no-loadscope-reorder -m "long and not timing"
	$(BIN)/python -m pytest -m timing  # alone

# Those of pyenv and of the PATH; `make test` has tested the one of .venv.
OTHER_PYTHONS = $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1[123].*/bin/python) python3.11 python3.12 python3.13
test-pythons: setup ## run the quick tests on each other Python from 3.11 to 3.13 that is found
	@seen=" $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])') "; \
	for python in $(OTHER_PYTHONS); do \
	  version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  case "$$seen" in *" $$version "*) continue;; esac; seen="$$seen$$version "; \
	  echo "tests on Python $$version: $$python"; \
	  $(MAKE) --no-print-directory PYTHON="$$python" VENV=.venv-$$version test || exit 1; \
	done

bench: setup ## measure the ratios of docs/bench.json, some two hours, after `make run`
	$(call add-extra,bench)
	$(BIN)/python -m bench

bench-reference: setup ## train the notebook's 150 epochs, 3 seeds, into docs/reference.csv; hours, resumable
	$(BIN)/python -m bench.reference

bench-gpu: setup ## time stock Keras and ours on JAX with a GPU, into docs/gpu.json; ten minutes, after `make run`
	$(call add-extra,jax-cuda)
	$(BIN)/python -m bench.gpu

doctor: setup ## check every file that DVC keeps by its digest, and repair what can be repaired
	@$(BIN)/python -m flows.doctor

soak: setup ## run random commands, kills and damage against one workspace for half an hour
	SOAK_SECONDS=1800 $(BIN)/python -m pytest -m slow tests/faults/test_soak.py -s

check: setup ## run lint, the format check and the type check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## format the code and fix what lint can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

graph: setup ## write the code deps and libraries of each stage into dvc.yaml, from the imports
	$(BIN)/python -m tests.support.import_graph

lock: setup ## refresh requirements.lock within the bounds of pyproject.toml, and libraries.yaml from it
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra dev --extra s3 pyproject.toml --output-file requirements.lock
	$(BIN)/python -m tests.support.import_graph

gpu: setup ## install the CUDA libraries of TensorFlow's GPU build (Linux)
	$(call add-extra,gpu)

clean: ## remove virtual environments and caches; data, models and reports stay
	rm -rf $(VENV) .venv-* .mypy_cache .pytest_cache .ruff_cache
