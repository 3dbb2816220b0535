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
.PHONY: help setup run study study-few server deploy worker bench bench-reference bench-gpu test test-all test-pythons doctor soak check format graph lock gpu clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 17

setup: $(VENV)/ready ## make .venv and install the locked dependencies

# A clone that was moved, or whose Python was upgraded away, has an environment that cannot be used: it is made again.
where = cd $(VENV) && pwd -P
ifneq ($(shell exec 2>/dev/null; [ "$$(cat $(VENV)/ready)" = "$$($(where))" ] && $(BIN)/python -c '' && echo usable),usable)
.PHONY: $(VENV)/ready
endif

# uv installs in a fifth of pip's time; where it cannot (a private index that only pip knows), pip does. The lock names
# everything, so pip has nothing to resolve, at which it would fail: with hashes it takes `sqlalchemy[asyncio]` for another.
# The hook sanitizes the environment of `dvc` and `prefect` (tasks/run/environment.py). Python executes it at each start;
# for every other program, such as a script of yours, it does nothing.
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

run: setup ## train on real CIFAR-10 (dvc repro), then show the result
	@$(BIN)/python -m tasks.params
	$(BIN)/dvc repro
	@$(BIN)/python -m flows.summary

study: setup ## compare the regularizers: study.compared × study.seeds, resumable, then the tables in reports/study
	$(BIN)/python -m flows.study

study-few: setup ## few images: from scratch, a probe or fine-tuning? learning curves in reports/study-few
	$(BIN)/python -m flows.study --name few --variants scratch,probe,fine_tune --seeds 5

# While the server runs, prefect.toml tells every Prefect command in this clone where it is. HOST and DATABASE are taken
# from the command line alone, as some shells have variables of these names; no password appears among the processes.
HOST = 127.0.0.1
PORT ?= 4200
DATABASE =
ifneq ($(DATABASE),)
server: export PREFECT_SERVER_DATABASE_CONNECTION_URL = $(DATABASE)
endif
server: setup ## a lasting Prefect server and its UI, for this machine (HOST=127.0.0.1 PORT=4200 DATABASE=)
	@$(BIN)/python -m flows.server --host '$(HOST)' --port '$(PORT)'

deploy: setup ## work pools, GPU limit and deployments, in the running server
	$(BIN)/prefect work-pool create local --type process --overwrite
	$(BIN)/prefect work-pool create study --type process --overwrite
	$(BIN)/prefect global-concurrency-limit inspect gpu >/dev/null 2>&1 || $(BIN)/prefect global-concurrency-limit create gpu --limit 1
	$(BIN)/python -m flows.server.schedules  # prefect.yaml says which there are
	PWD="$(CURDIR)" $(BIN)/prefect --no-prompt deploy --all

SERVER =
LIMIT =
worker: setup ## run what is asked for here, or only trials for another machine's server (SERVER=http://HOST:4200/api LIMIT=)
	@$(BIN)/python -m flows.cluster.worker $(if $(SERVER),--server '$(SERVER)') $(if $(LIMIT),--limit '$(LIMIT)')

test: setup ## the tests, a few minutes in two processes
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile

# By order, not by their number in a file: the soak is one test, the longest, and would begin last.
test-all: test test-pythons ## also the slow tests (an epoch on the real data set), and the quick ones on other Pythons
	$(BIN)/python -m pytest -m "slow and not timing" --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -m timing  # alone

# Those of pyenv, and those that the PATH knows; the one of .venv was tested before.
OTHER_PYTHONS = $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1[123].*/bin/python) python3.11 python3.12 python3.13
test-pythons: setup ## the quick tests on each further Python from 3.11 to 3.13 that is found
	@seen=" $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])') "; \
	for python in $(OTHER_PYTHONS); do \
	  version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  case "$$seen" in *" $$version "*) continue;; esac; seen="$$seen$$version "; \
	  echo "tests on Python $$version: $$python"; \
	  $(MAKE) --no-print-directory PYTHON="$$python" VENV=.venv-$$version test || exit 1; \
	done

bench: setup ## measure the ratios of docs/bench.json again; some two hours, after `make run`
	$(call add-extra,bench)
	$(BIN)/python -m bench

bench-reference: setup ## the notebook's 150 epochs, 3 seeds, into docs/reference.csv; hours, goes on where it stopped
	$(BIN)/python -m bench.reference

bench-gpu: setup ## stock Keras and ours on JAX with a GPU, into docs/gpu.json; some ten minutes, after `make run`
	$(call add-extra,jax-cuda)
	$(BIN)/python -m bench.gpu

doctor: setup ## check everything that this folder keeps, by content, and repair what can be
	@$(BIN)/python -m flows.doctor

soak: setup ## half an hour of random commands, kills and damage against one workspace
	SOAK_SECONDS=1800 $(BIN)/python -m pytest -m slow tests/faults/test_soak.py -s

check: setup ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## rewrite the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

graph: setup ## write what follows from the imports: the code deps and libraries in dvc.yaml
	$(BIN)/python -m tests.support.import_graph

lock: setup ## refresh requirements.lock within the bounds of pyproject.toml, and libraries.yaml from it
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra dev --extra s3 pyproject.toml --output-file requirements.lock
	$(BIN)/python -m tests.support.import_graph

gpu: setup ## add the CUDA libraries of TensorFlow's GPU build (Linux)
	$(call add-extra,gpu)

clean: ## remove the virtual environments and caches; data, models and reports stay
	rm -rf $(VENV) .venv-* .mypy_cache .pytest_cache .ruff_cache
