# Every command a developer or CI runs. `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements.lock
COMPILE = $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url
ARGS   ?=

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.stamp: $(LOCK) pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q uv
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --require-hashes -r $(LOCK)
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --no-deps -e .
	@touch $@

venv: $(VENV)/.stamp ## .venv with everything for development, from the hashed lock

lock: ## resolve both locks anew (host-free: they name no registry); the image's is a part of the other
	$(COMPILE) --extra demo --group dev pyproject.toml -o $(LOCK)
	$(COMPILE) --constraints $(LOCK) pyproject.toml -o requirements-image.lock

demo: venv ## one good and one bad release on the embedded sandbox (ARGS="--once --json")
	@$(BIN)/linnet demo $(ARGS)

demo-real: venv ## the same show on a real Kubernetes, built on the spot (ARGS="--json")
	@$(BIN)/python -m tests.testbed.demo $(ARGS)

unit: venv ## the fast suites alone
	$(BIN)/pytest -n 2 --dist worksteal tests/unit tests/sandbox tests/docs tests/mutants $(ARGS)

test: venv ## everything that can run here; what is missing is listed at the end
	@$(BIN)/python -m tests.testbed.run $(ARGS)

test-kubernetes: venv ## the webhook on another Kubernetes, built on the spot (VERSION=1.35.4)
	@$(BIN)/python -m tests.testbed.kubernetes $(VERSION) $(ARGS)

lint: venv ## ruff, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: venv ## mypy --strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright

crds: venv ## write the CRDs into the chart
	$(BIN)/python -m daemon.api.crds charts/linnet

walk: venv ## a random walk of releases with everybody in their way (ARGS="--seed 7 --releases 500 --shops 12")
	@$(BIN)/python -m tests.walk $(ARGS)

mutants: venv ## apply each committed patch to shipped code; its test must go red
	$(BIN)/python -m tests.mutants.run $(ARGS)

bench: venv ## every benchmark, as tables
	$(BIN)/python -m bench.decide $(ARGS)
	$(BIN)/python -m bench.api $(ARGS)
	$(BIN)/python -m bench.judge $(ARGS)
	$(BIN)/python -m bench.judge_cost $(ARGS)

bench-api: venv ## what the daemon costs an API server (ARGS=--json)
	$(BIN)/python -m bench.api $(ARGS)

bench-flags: venv ## how fast flags come back, and what computing them costs (ARGS=--json)
	$(BIN)/python -m bench.flags $(ARGS)

bench-unknown: venv ## the same judge on services and harnesses drawn from wide ranges (ARGS="--json --runs 2000")
	$(BIN)/python -m bench.judge_unknown $(ARGS)

bench-judge: venv ## what the judge decides, and what that costs, beside stock rules (ARGS="--json --runs 100")
	$(BIN)/python -m bench.judge $(ARGS)

docs: venv ## the generated pages of docs/reference
	$(BIN)/python -m daemon.cli.reference docs/reference
	$(BIN)/python -m tests.dataplanes.table
	$(BIN)/python -m tests.cluster.strategies
	$(BIN)/python -m tests.mutants.table

image: ## build the container image
	docker build -t linnet:dev -f Containerfile .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help venv lock demo demo-real unit test test-kubernetes lint types crds walk mutants bench bench-api bench-flags bench-judge docs image clean
