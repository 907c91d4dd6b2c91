# Everything runs in .venv. The targets create it, and need only Python.
PYTHON ?= python3
VENV   ?= .venv
SPEC   ?= openapi.yaml
OUT    ?= generated/kyc_openapi
BIN    := $(VENV)/bin
# pip installs only uv, because uv installs the rest in seconds.
UV      = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test record generate check-generated spec-lint spec-diff api-diff spec-drift check-version lint format types mutants bench docs build lock size check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.uv: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

$(VENV)/.demo: $(VENV)/.uv pyproject.toml
	$(UV) --editable '.[sandbox]'
	@touch $@

$(VENV)/.dev: $(VENV)/.uv pyproject.toml
	$(UV) --editable '.[sandbox]' --group dev --group docs
	@touch $(VENV)/.demo $@

$(VENV)/.mutation: $(VENV)/.dev
	$(UV) --group mutation
	@touch $@

setup: $(VENV)/.dev ## create .venv with the library and every development tool

demo: $(VENV)/.demo ## watch the client log in, renew and fail against a real server
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev ## run the tests, which must cover 100 % of kyc_client (TESTS=tests/core runs some of them, without coverage)
	$(BIN)/pytest --numprocesses auto $(if $(TESTS),--no-cov $(TESTS),--cov)

mutants: $(VENV)/.mutation ## change the modules that decide, and check that a test fails (half an hour)
	$(BIN)/python -m tools.mutants

record: $(VENV)/.dev ## record the cassettes again from the sandbox
	$(BIN)/pytest tests/behaviour/test_cassettes.py --record

generate: $(VENV)/.dev ## generate OUT from SPEC (generated/kyc_openapi from openapi.yaml)
	$(BIN)/python -m tools.generate --spec $(SPEC) --out $(OUT)

check-generated: $(VENV)/.dev ## fail if OUT is not exactly what SPEC generates
	$(BIN)/python -m tools.generate --spec $(SPEC) --out $(OUT) --check

spec-lint: $(VENV)/.dev ## check SPEC against the OpenAPI standard and our rules in redocly.yaml
	$(BIN)/python -m tools.spec_lint $(SPEC)

spec-diff: $(VENV)/.dev ## show what changed in the HTTP contract since BASE (default: the last release)
	$(BIN)/python -m tools.compare.spec_diff --spec $(SPEC) --base "$(BASE)"

api-diff: $(VENV)/.dev ## show what changed since BASE for code that imports us
	$(BIN)/python -m tools.compare.api_diff --base "$(BASE)"

spec-drift: $(VENV)/.dev ## compare our login with the one that a server publishes at URL/openapi.json
	$(BIN)/python -m tools.compare.spec_drift --spec $(SPEC) $(URL)

check-version: $(VENV)/.dev ## fail if something broke since the last release and the version does not announce it
	$(BIN)/python -m tools.compare.spec_diff --spec $(SPEC) --since-release && $(BIN)/python -m tools.compare.api_diff --since-release

lint: $(VENV)/.dev ## check style and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format the hand-written code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.dev ## check types with mypy and pyright, strictly
	$(BIN)/mypy
	$(BIN)/mypy tools
	$(BIN)/mypy tests/people/typing examples/*.py
	$(BIN)/pyright

bench: $(VENV)/.dev ## measure the cost of imports and of one auth flow, as ratios
	$(BIN)/python -m benchmarks.auth
	$(BIN)/python -m benchmarks.imports

docs: $(VENV)/.dev ## build the documentation into site/, and check its links
	$(BIN)/python -m tools.docs

build: $(VENV)/.dev ## build the wheel and the sdist into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

lock: $(VENV)/.uv ## pin the dependencies of the development tools again
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --upgrade --all-extras --group dev --group docs --group mutation pyproject.toml --output-file constraints.txt

size: $(VENV)/.dev ## fail if the core, one of its classes or one of its functions is too long
	$(BIN)/python -m tools.size

check: lint size types check-generated spec-lint check-version docs test build ## run every check that a change must pass

clean: ## remove everything that the targets created
	rm -rf $(VENV) dist site .mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
