# Two commands do everything: `make demo` and `make test`. Both set up .venv on their first run.

PYTHON ?= python3
TEST_WORKERS ?= 2
DEMO_SCENARIO ?= two_sites
DEMO_SEEDS ?= 0-9
DEMO_CONFIG ?= configs/agents/learned.yaml
# A short training, looked at often: what learning.md says of the configuration takes longer.
DEMO_TRAINING ?= --total_steps 460800 --evaluation.every_steps 46080
DEMO_RIVALS ?= greedy rule:merit_order mpc:persistence mpc:day_ahead
DEMO_FRONTIER ?= energy_geography
DEMO_RUN := runs/demo

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PYTHON_VERSION = $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)

# One OpenMP thread: small networks lose more to spinning threads than they gain.
export OMP_NUM_THREADS ?= 1

# Another interpreter than the one in .venv, named explicitly: start afresh instead of ignoring it.
ifneq ($(origin PYTHON),file)
ifneq ($(PYTHON_VERSION),$(shell cat $(STAMP) 2>/dev/null))
FRESH := fresh
endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test lint slow ray mutants bench gpu-wheels gpu-check figures docs docs-links clean check-python fresh

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done
	@echo "  Another interpreter: make PYTHON=python3.12 test"

venv: $(STAMP)  ## create .venv with everything that demo and test need

# The stamp is written last, so an interrupted installation leaves none, and the next run starts from an
# empty .venv. Where the stamp was there and only the requirements changed, pip brings .venv up to date.
$(STAMP): pyproject.toml constraints.txt $(FRESH) | check-python
	@if [ ! -f $@ ] || [ -n "$(FRESH)" ]; then echo "$(PYTHON) -m venv --clear $(VENV)"; $(PYTHON) -m venv --clear $(VENV); fi
	@rm -f $@
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install -c constraints.txt -e '.[all,dev]'
	$(BIN)/python -m pip check
	@$(BIN)/python -c 'import platform; print(platform.python_version())' > $@

check-python:
	@if [ -f $(STAMP) ] && [ -z "$(FRESH)" ]; then exit 0; fi; \
	command -v $(PYTHON) >/dev/null || { echo "No '$(PYTHON)' here. Name a Python 3.11 or newer: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gridai-env needs Python 3.11 or newer, '$(PYTHON)' is $(PYTHON_VERSION). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' has no venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }

# Each step is done again only where the code, the settings or the scenario changed since.
DEMO_NEEDS := $(DEMO_CONFIG) configs/scenarios/$(DEMO_SCENARIO).yaml \
	$(wildcard configs/benchmarks/$(DEMO_SCENARIO).yaml configs/benchmarks/$(DEMO_SCENARIO)/validation.json) \
	$(wildcard $(addsuffix /*.py,gridai_env gridai_env/* gridai_env/*/* agents agents/* agents/*/* baselines baselines/*))

$(DEMO_RUN)/model.zip: $(DEMO_NEEDS) | $(STAMP)
	$(BIN)/python -m scripts.train --config $(DEMO_CONFIG) --scenario $(DEMO_SCENARIO) $(DEMO_TRAINING) \
		--run-dir $(DEMO_RUN) --overwrite

$(DEMO_RUN)/comparison.txt: $(DEMO_RUN)/model.zip
	$(BIN)/python -m scripts.compare --scenario $(DEMO_SCENARIO) --seeds $(DEMO_SEEDS) --jobs 2 \
		--policies local_only learned:$< $(DEMO_RIVALS) mpc:perfect milp \
		--run-dir $(DEMO_RUN)/compare --overwrite > $@

# Planners and bounds of the frozen set are published: only the agent and the rules play.
$(DEMO_RUN)/evaluation.txt: $(DEMO_RUN)/model.zip
	$(BIN)/python -m scripts.evaluate --scenario $(DEMO_SCENARIO) --policies learned:$< $(DEMO_RIVALS) milp \
		--run-dir $(DEMO_RUN)/evaluate > $@

$(DEMO_RUN)/frontier.txt: configs/scenarios/$(DEMO_FRONTIER).yaml $(DEMO_NEEDS) | $(STAMP)
	@mkdir -p $(DEMO_RUN)
	$(BIN)/python -m scripts.frontier --scenario $(DEMO_FRONTIER) --axes interactive --points 8 --seeds 0 1 \
		--policies local_only price_only --run-dir $(DEMO_RUN)/frontier --overwrite > $@

$(DEMO_RUN)/report.html: $(addprefix $(DEMO_RUN)/,evaluation.txt comparison.txt frontier.txt) \
		$(wildcard scripts/report/*.py scripts/report/*/*.py scripts/report/*/*/*.py scripts/report/page/*.*)
	$(BIN)/python -m scripts.report $(DEMO_RUN)

demo: $(DEMO_RUN)/report.html  ## train an agent, compare it with rules, planners and the optimum, report (minutes)
	@cat $(addprefix $(DEMO_RUN)/,comparison.txt frontier.txt evaluation.txt)
	@echo
	@echo "Schedules side by side:  $(BIN)/tensorboard --logdir $(DEMO_RUN)"
	@echo "Report, open it in a browser:  $(DEMO_RUN)/report.html"

test: lint  ## linters, types and all tests but the slow ones
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal --durations 10

lint: $(STAMP)  ## ruff, directions of imports, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

slow: $(STAMP)  ## the slow tests
	$(BIN)/python -m pytest -m slow

ray: $(STAMP)  ## the tests that start a Ray cluster on this machine (needs the extra ray)
	$(BIN)/python -m pytest -m ray

mutants: $(STAMP)  ## break the code in every listed way; each must turn the tests red
	$(BIN)/python -m pytest -m mutation

bench: $(STAMP)  ## steps per second and solver times on this machine
	$(BIN)/python -m scripts.benchmark

# What the image of a GPU machine may lack beside torch; packages that it has are left as they are.
GPU_PACKAGES := gymnasium farama-notifications cloudpickle stable-baselines3 pydantic pydantic-core annotated-types \
	typing-inspection typing-extensions jaxtyping wadler-lindig tzdata PyYAML jsonargparse

gpu-wheels:  ## with network: fetch what gpu-check needs beside torch (WHEELS=folder, for Python 3.12 on Linux)
	@test -n "$(WHEELS)" || { echo "Name a folder: make $@ WHEELS=.wheels" >&2; exit 2; }
	$(PYTHON) -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
		--platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -c constraints.txt -d $(WHEELS) $(GPU_PACKAGES)

# Into a folder of its own and not a virtual environment: that would not see the torch of another one.
gpu-check:  ## without network: measure on a CUDA machine whose PYTHON has torch (WHEELS=folder), gpu_check.json
	@test -n "$(wildcard $(WHEELS)/*.whl)" || { echo "No wheels: make $@ WHEELS=FOLDER (make gpu-wheels)" >&2; exit 2; }
	rm -rf .gpu && $(PYTHON) -m pip install -q --no-index --no-deps --no-compile --target .gpu $(WHEELS)/*.whl
	PYTHONPATH=.gpu $(PYTHON) -m scripts.gpu_check --out gpu_check.json

figures: $(STAMP)  ## how readable the tree is, beside the goals of the house
	$(BIN)/python -m scripts.maintenance.figures

# What builds the pages is not needed by demo and test: it is added to .venv only here.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)  ## build the documentation into docs/_build/html; warnings are errors, code cells run
	@rm -rf docs/api
	$(BIN)/python -m sphinx -b html -q -W --keep-going docs docs/_build/html
	@echo "Open it in a browser:  docs/_build/html/index.html"

docs-links: $(DOCS_STAMP)  ## ask the network whether the links that leave the documentation still work
	$(BIN)/python -m sphinx -b linkcheck -q docs docs/_build/linkcheck

clean:  ## remove .venv, caches and build results (runs/ stays)
	rm -rf $(VENV) dist build docs/_build docs/_generated docs/api .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find agents baselines gridai_env scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
