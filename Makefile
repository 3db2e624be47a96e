# Two commands: `make demo` and `make test`. `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tests start hundreds of processes, each of which would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST ?= -q
# tests/conftest.py says how many workers, and what has to run in one of them; the longest are begun first.
PARALLEL ?= -n auto --no-loadscope-reorder

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --strip-extras

.PHONY: help demo demo-stop cluster-demo cluster-demo-stop test lint unit coverage nightly mutants bench-launch bench-analysis bench-rollback bench-goodput bench-gpt bench-fleet bench-fleet-year bench-gate bench-ui lock images ui chart-check clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

demo: $(STAMP) ## release three models for real on this machine (KEEP=1 leaves everything running)
	@exec $(BIN)/bulkhead demo $(if $(KEEP),--keep)

demo-stop: $(STAMP) ## stop what `make demo KEEP=1` left running
	@exec $(BIN)/bulkhead demo --stop

cluster-demo: $(STAMP) ## the same in the cluster of KUBECONFIG, from images that it can pull (IMAGE_PREFIX, IMAGE_TAG, POSTGRES_IMAGE; KEEP=1)
	@exec $(BIN)/bulkhead cluster-demo $(if $(KEEP),--keep) --image-prefix "$(IMAGE_PREFIX)" --image-tag "$(IMAGE_TAG)" \
		--postgres-image "$(POSTGRES_IMAGE)"

cluster-demo-stop: $(STAMP) ## take away what a cluster-demo left in the cluster
	@exec $(BIN)/bulkhead cluster-demo --stop

test: lint ## everything: linters, then the whole test suite
	$(BIN)/pytest $(PYTEST) $(PARALLEL) --durations=25

coverage: $(STAMP) ## the whole test suite, with the lines that it runs (half as long again)
	$(BIN)/pytest $(PYTEST) $(PARALLEL) --cov --cov-report=term:skip-covered

nightly: $(STAMP) ## what takes too long for every change: 2,000 storms, every crash point, mutants (some hours)
	BULKHEAD_NIGHTLY=1 $(BIN)/pytest $(PYTEST) $(PARALLEL) --durations=25 tests/bulkhead/rollout
	@$(MAKE) mutants

mutants: $(STAMP) ## changes of the code that decides, and which of them no test notices
	@$(BIN)/python -m benchmarks.mutants | tail -n 1

unit: $(STAMP) ## the fast tests alone
	$(BIN)/pytest $(PYTEST) $(PARALLEL) -m 'not e2e and not faults'

lint: $(STAMP) ## formatting, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-launch: $(STAMP) ## waiting for many pods, against stock KubernetesPodOperator (about 20 minutes)
	@$(BIN)/python -m benchmarks.launch | tail -n 1

bench-analysis: $(STAMP) ## false rollbacks and bad requests served, against others' rules (about 5 minutes)
	@$(BIN)/python -m benchmarks.analysis | tail -n 1

bench-gate: $(STAMP) ## what the gate passes and refuses falsely, against point estimates and thresholds (about 30 minutes)
	@$(BIN)/python -m benchmarks.gate | tail -n 1

bench-rollback: $(STAMP) ## how long clients get bad answers, with parts of Airflow killed (about 90 minutes)
	@$(BIN)/python -m benchmarks.rollback | tail -n 1

bench-goodput: $(STAMP) ## training time over paid time under faults, against plain retries and torchrun (about 25 minutes)
	@$(BIN)/python -m benchmarks.goodput | tail -n 1

bench-gpt: $(STAMP) ## what the trainer costs, against a bare loop of the same model (about 10 minutes on two CPUs)
	@$(BIN)/python -m benchmarks.gpt | tail -n 1

bench-fleet: $(STAMP) ## judging 10,000 GPUs in one scrape, against prometheus_client's parser (about 3 minutes)
	@$(BIN)/python -m benchmarks.fleet | tail -n 1

bench-fleet-year: $(STAMP) ## a simulated year of 2,000 GPUs: what is contained, and what that costs (about 25 minutes)
	@$(BIN)/python -m benchmarks.fleet_year | tail -n 1

bench-ui: $(STAMP) ## the Control Room over 20,000 releases and 10,000 GPUs, in Airflow and Chromium (about 8 minutes)
	@$(BIN)/python -m benchmarks.ui | tail -n 1

# The first that is here. The same commit gives the same digests: times of files are those of no build.
# A docker client builds nothing by itself: it wants its buildx, and a daemon that answers.
BUILDER ?= $(firstword $(foreach program,buildah podman,$(if $(shell command -v $(program)),$(program))) \
	$(if $(shell docker buildx version >/dev/null 2>&1 && docker info >/dev/null 2>&1 && echo here),docker))
IMAGES ?= control tasks airflow router
IMAGE_PREFIX ?= localhost/bulkhead-
IMAGE_TAG ?= latest
POSTGRES_IMAGE ?= postgres:17
STAMPED = $(if $(filter docker,$(BUILDER)),buildx build --output type=docker$(COMMA)rewrite-timestamp=true --build-arg SOURCE_DATE_EPOCH=0,build --timestamp 0)
COMMA := ,

images: ## build the images (IMAGES="control tasks"; IMAGE_ARGS for the builder), by buildah, podman or docker
	@[ -n "$(BUILDER)" ] || { echo "NO IMAGE WAS BUILT: neither buildah nor podman is here, nor docker with buildx and a daemon that answers" >&2; exit 1; }
	@revision=$$(git rev-parse HEAD) && for image in $(IMAGES); do \
		echo "building $(IMAGE_PREFIX)$$image by $(BUILDER)"; \
		$(BUILDER) $(STAMPED) $(IMAGE_ARGS) --build-arg REVISION="$$revision" --target "$$image" \
			-f docker/Dockerfile -t "$(IMAGE_PREFIX)$$image:$(IMAGE_TAG)" . || exit 1; \
	done

ui: ## build the pages in Airflow's web interface from bulkhead/web/app (npm), and check their types
	@cd bulkhead/web/app && npm ci --silent --no-audit --no-fund && npm run --silent check && npm run --silent build

chart-check: $(STAMP) ## lint, render and schema-check the chart, by Helm's own library
	$(BIN)/pytest $(PYTEST) tests/docker/test_chart.py

# Torch, and what it brings for an accelerator, is the machine's own choice of build: of it the version alone is locked.
lock: $(STAMP) ## write requirements.lock and requirements-torch.lock anew, from pyproject.toml
	@$(COMPILE) --extra dev --upgrade pyproject.toml -o requirements.lock
	@grep '^torch==' requirements.lock > requirements-torch.lock
	@build=$$($(COMPILE) --extra tasks pyproject.toml | grep -oE '^(torch|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+)' | grep -vx nvidia-ml-py); \
	$(COMPILE) --extra dev --generate-hashes $$(printf -- '--no-emit-package %s ' $$build) pyproject.toml -o requirements.lock; \
	$(COMPILE) -c requirements.lock --extra registry --extra tracing --extra ui --generate-hashes pyproject.toml -o docker/control.lock; \
	$(COMPILE) -c requirements.lock --extra tasks --generate-hashes $$(printf -- '--no-emit-package %s ' $$build) pyproject.toml -o docker/tasks.lock; \
	$(COMPILE) -c requirements.lock --generate-hashes docker/build.in -o docker/build.lock

clean: ## remove the environment and everything generated
	rm -rf $(VENV) .demo .cluster-demo build dist *.egg-info .*_cache .hypothesis .coverage htmlcov mutants

# All but torch comes by uv, which is quick, and is held to the lock's hashes. Torch comes by pip, which takes the build
# that the machine's own pip configuration names. A line every five seconds says that it still works. What they leave in
# the temporary folder (uv its locks) goes at the end.
$(STAMP): pyproject.toml requirements.lock requirements-torch.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else \
		f"Python {v[0]}.{v[1]} does not fit: give one of 3.11 to 3.13, for instance make PYTHON=python3.12")'
	@echo "making the environment in $(VENV) (once; a few minutes where packages must be downloaded)"
	@begin=$$SECONDS; \
	( while sleep 5; do echo "  … installing, $$((SECONDS - begin)) s so far"; done ) & beat=$$!; \
	export TMPDIR=$$(mktemp -d); \
	trap 'kill $$beat; rm -rf "$$TMPDIR"' EXIT; \
	$(PYTHON) -m venv $(VENV); \
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > "$$TMPDIR/uv.txt"; \
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r "$$TMPDIR/uv.txt"; \
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock; \
	$(BIN)/pip install -q --disable-pip-version-check -r requirements-torch.lock; \
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
