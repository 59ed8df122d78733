# `make run` and `make test` do all of their own set-up: Linux, Python 3.11 and make are enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# One environment, filled in two steps: what runs, and what else the tests and tools need.
RUNS := $(VENV)/installed
READY := $(VENV)/installed-dev
FAST := "not slow and not soak and not convert"

.PHONY: run test check lint coverage bench soak venv lock clean

run: $(RUNS) images
	@$(BIN)/python models/first_model.py
	@echo "Drop JPEG and PNG files into $(CURDIR)/images; search from another terminal, for example:"
	@echo "    $(BIN)/clipwatch search \"red apple\""
	@echo "    $(BIN)/clipwatch search FILE"
	@echo "    $(BIN)/clipwatch status"
	@echo "Stop with Ctrl-C."
	@exec $(BIN)/clipwatch --log-format console run

images:
	mkdir images
	cp -r docs/samples/*.jpg docs/samples/*.png docs/samples/drawings images/

test: lint
	$(BIN)/python -m pytest -n 2 -m "not soak and not convert"

check: lint
	$(BIN)/python -m pytest -n 2 -m $(FAST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

coverage: $(READY)
	$(BIN)/python -m pytest -n 2 -m $(FAST) --cov --cov-report=term

ifndef SEED
SEED := $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
endif
soak: $(READY)
	@echo "Replay what fails with: make soak SEED=$(SEED)"
	CLIPWATCH_SOAK_SEED=$(SEED) $(BIN)/python -m pytest -m soak --timeout 0 -p no:randomly --hypothesis-seed=$(SEED)

bench: $(READY) .venv-bench/installed
	$(BIN)/python bench/run.py

# A peer that cannot be installed is told in the report; the others are measured all the same, and the next run tries again.
PEERS_PIP := .venv-bench/bin/python tools/install.py

.venv-bench/installed: bench/requirements.txt bench/requirements-alone.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	if $(PEERS_PIP) -r bench/requirements.txt; then touch $@; \
		else grep -v "^#" bench/requirements.txt | xargs -n 1 $(PEERS_PIP) || true; fi
	$(PEERS_PIP) --no-deps --ignore-requires-python -r bench/requirements-alone.txt || rm -f $@

venv: $(RUNS)

# A virtual environment that was interrupted while it was made has a Python but no pip yet.
$(RUNS): requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
		{ echo "Making a virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what clipwatch runs with: about 90 MB to fetch, 330 MB on the disk"
	@$(BIN)/python tools/install.py --require-hashes -r requirements.lock
	@$(BIN)/python tools/install.py --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(RUNS) requirements-dev.lock
	@echo "Installing what the tests need beside that: about 300 MB to fetch, 900 MB on the disk"
	@$(BIN)/python tools/install.py --require-hashes -r requirements-dev.lock
	@touch $@

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# The second file holds the first, version for version.
lock: $(READY)
	$(LOCK) pyproject.toml --group build --output-file requirements.lock
	$(LOCK) pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

include tests/convert.mk
