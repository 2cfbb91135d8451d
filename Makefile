# Everything that a fresh machine with python3 (3.11 or newer), node 20 and make needs.
# `make run` to try it, `make test` to prove it.

PYTHON ?= python3
BIN := .venv/bin
STAMPS := .make
UI := backend/smart_support/static
# Test processes at once; each has a PostgreSQL of its own.
WORKERS ?= 2

LOCKED := --python-version 3.11 --universal --generate-hashes --no-annotate --no-header

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test check bench bench-full soak format page api-client browser setup lock clean

run: $(STAMPS)/run $(UI)/index.html
	@exec $(BIN)/smart-support serve --demo

test: check browser
	cd frontend && npm run --silent test
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: setup
	$(BIN)/ruff format --check backend tests migrations
	$(BIN)/ruff check backend tests migrations
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd frontend && npm run --silent check
	@$(BIN)/smart-support openapi | cmp - frontend/openapi.json || \
		{ echo "frontend/openapi.json is not what the backend says: run 'make api-client'"; exit 1; }

format: setup
	$(BIN)/ruff format backend tests migrations
	$(BIN)/ruff check --fix backend tests migrations
	cd frontend && npm run --silent format

bench: setup
	$(BIN)/python -m tests.bench

# A quarter of an hour on a quiet machine: also memory, start, overload, and months of conversations.
bench-full: setup
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.service
	$(BIN)/python -m tests.bench.history --size 10

# Every law with thousands of examples instead of a hundred.
soak: setup
	HYPOTHESIS_PROFILE=soak $(BIN)/pytest tests

# The page's client is generated from the backend's own OpenAPI document.
api-client: setup
	$(BIN)/smart-support openapi > frontend/openapi.json
	cd frontend && npm run --silent api

page: $(UI)/index.html

setup: $(STAMPS)/dev $(UI)/index.html

$(STAMPS)/run: requirements/run.txt pyproject.toml
	@mkdir -p $(STAMPS)
	@echo "Installing what the backend needs (once, about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/run.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/run
	@echo "Installing what the tests need"
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

$(STAMPS)/npm: frontend/package-lock.json
	@mkdir -p $(STAMPS)
	@echo "Installing what the page is built with"
	@cd frontend && npm ci --ignore-scripts --silent --no-fund --no-audit
	@touch $@

$(UI)/index.html: $(STAMPS)/npm $(shell find frontend/src frontend/public frontend/index.html frontend/vite.config.ts -type f 2>/dev/null)
	@echo "Building the page"
	@cd frontend && npm run --silent build
	@touch $@

# Browser tests use Debian's Chromium, deployment tests its nginx; elsewhere install them yourself.
# Without nginx its tests are skipped, without chromium nothing proves the page.
browser:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    ! { command -v chromium && command -v nginx; } >/dev/null 2>&1; then \
	  echo "Installing chromium and nginx"; apt-get update -qq; \
	  apt-get install -y -qq --no-install-recommends chromium nginx-light >/dev/null; \
	fi
	@command -v chromium >/dev/null || \
	  { echo "The browser tests need chromium: install it and try again."; exit 1; }

# Writes what is installed, by version and hash, after a change of the dependencies. Needs uv.
lock:
	uv pip compile --quiet --group build $(LOCKED) --output-file requirements/run.txt pyproject.toml
	uv pip compile --quiet --group dev $(LOCKED) --output-file requirements/dev.txt pyproject.toml

clean:
	rm -rf $(STAMPS) .venv $(UI) frontend/node_modules
