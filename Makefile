# Needs python3 (3.11 or newer) with venv, and make. The first target that runs makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := protocol daemon worker client
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test check bench soak fmt clean

demo: $(VENV)/.stamp-run
	$(BIN)/python tests/end_to_end/demo.py

test: $(VENV)/.stamp-test
	@# Those that boot a machine of their own mostly wait for it: they run beside the others.
	@$(BIN)/pytest -m "container or machine" -o cache_dir=.pytest_cache/machines >.pytest-machines.log 2>&1 & beside=$$!; \
	  $(BIN)/pytest -m "not container and not machine"; status=$$?; \
	  wait $$beside || status=1; \
	  cat .pytest-machines.log; exit $$status

check: export COVERAGE_FILE = .coverage-data/.coverage
check: export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
check: $(VENV)/.stamp-check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	rm -rf .coverage-data && mkdir .coverage-data
	$(BIN)/coverage run -m pytest -m "not container and not machine"
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
	rm -rf $(VENV) .venv-bench .pytest-machines.log .coverage-data .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

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
