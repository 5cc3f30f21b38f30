# Needs python3 (3.11 or newer) with venv, and make. The first target that runs makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := protocol daemon worker client
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/pytest
# What the tests start is none of make's jobs, and is compiled once: hundreds of daemons and workers import the same.
ALONE := env -u MAKEFLAGS -u PYTHONDONTWRITEBYTECODE
STORE_SERVER := tests/daemon/store tests/daemon/server
LONG := $(patsubst %,tests/end_to_end/test_%.py,feed flood hanging hostile kill orphans)
COMMANDS := $(wildcard tests/end_to_end/test_cli_*.py) $(patsubst %,tests/end_to_end/test_%.py,demo readme installation)
MACHINES := $(shell grep -lsE 'mark\.(container|machine)' tests/end_to_end/*.py)
NOT_MACHINES := -m "not container and not machine"

# The parts whose coverage is measured: the others reach little more of protocol/ and daemon/, and take as long again.
MEASURED := test-daemon test-store-server test-rooms test-end-to-end
PARTS := $(MEASURED) test-commands test-long test-machines

.PHONY: demo test $(PARTS) check bench soak fmt clean

demo: $(VENV)/.stamp-run
	$(BIN)/python tests/end_to_end/demo.py

# Four parts at a time: where the tests of one wait, those of another have the core; more only wait for each other.
test: $(VENV)/.stamp-test
	@echo "All tests; each part tells its own when it is over, within some minutes."
	@$(MAKE) --no-print-directory --jobs=4 --keep-going --output-sync $(PARTS)

test-daemon:
	$(ALONE) $(PYTEST) -o cache_dir=.pytest_cache/$@ tests/daemon $(patsubst %,--ignore=%,$(STORE_SERVER)) $(NOT_MACHINES)

test-store-server:
	$(ALONE) $(PYTEST) -o cache_dir=.pytest_cache/$@ $(STORE_SERVER) $(NOT_MACHINES)

test-rooms:
	$(ALONE) $(PYTEST) -o cache_dir=.pytest_cache/$@ --ignore=tests/daemon --ignore=tests/end_to_end $(NOT_MACHINES)

test-end-to-end:
	$(ALONE) $(PYTEST) -o cache_dir=.pytest_cache/$@ tests/end_to_end $(patsubst %,--ignore=%,$(LONG) $(COMMANDS)) $(NOT_MACHINES)

test-commands:
	$(ALONE) $(PYTEST) -o cache_dir=.pytest_cache/$@ $(COMMANDS)

test-long:
	$(ALONE) $(PYTEST) -o cache_dir=.pytest_cache/$@ $(LONG)

test-machines:
	$(ALONE) $(PYTEST) -o cache_dir=.pytest_cache/$@ -m "container or machine" $(MACHINES)

check: export COVERAGE_FILE = .coverage-data/.coverage
check: export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
check: $(VENV)/.stamp-check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	rm -rf .coverage-data && mkdir .coverage-data
	@$(MAKE) --no-print-directory --jobs=$(words $(MEASURED)) --keep-going --output-sync $(MEASURED) PYTEST="$(BIN)/coverage run -m pytest"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='protocol/*' --fail-under=90
	$(BIN)/coverage report --include='daemon/*' --fail-under=90

bench: $(VENV)/.stamp-test
	$(BIN)/python -m bench

# Half an hour; `make soak MINUTES=2` for a look.
MINUTES ?= 30
ROUNDS ?= 20
soak: $(VENV)/.stamp-test
	$(BIN)/python -m bench.soak --minutes $(MINUTES) --rounds $(ROUNDS)

fmt: $(VENV)/.stamp-check
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) .venv-bench .coverage-data .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# One environment, three sets of packages: what runs, what tests, what checks.
$(VENV)/.stamp-run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-run
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) --group test
	@touch $@

$(VENV)/.stamp-check: $(VENV)/.stamp-test
	$(PIP) --group check
	@touch $@
