# One word a task; `make help` lists them. Needs make, git and a Python >= 3.11; everything else goes into .venv.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
unexport PYTHONPATH PYTHONHOME PIP_REQUIRE_VIRTUALENV PIP_USER

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 3
TESTS ?=
ARGS ?=
SECONDS ?= 300

export PYTHON

.PHONY: help venv check test differential fuzz simulate chaos demo bench bench-recurrence bench-faults bench-replicas bench-postgres bench-downtime bench-enqueue coverage docs format wheel constraints clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{ printf "  make %-17s %s\n", $$1, $$2 }'
	@echo "  PYTHON=/path/to/python3.11 names the interpreter (VENV=.venv-3.11 keeps the first beside it); TESTS=tests/core ARGS='-k dst' narrow make test."

venv: $(READY) ## make .venv with offbeat (editable), its extras and the tools

$(READY): pyproject.toml constraints.txt scripts/make-venv
	@echo "making $(VENV) (once; half a minute, or three where every package has to be fetched; pip is silent meanwhile)"
	@scripts/make-venv $(VENV)
	@touch $@

check: $(READY) ## the gate: style, types, layers, sizes; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/gate_check.py

test: $(READY) ## every test, with real servers where they are (or can be) installed
	@if ! scripts/install-test-servers; then test "$$CI" != true || exit 1; fi
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(TESTS) $(ARGS)

differential: $(READY) ## hold cron to Debian's daemon, cronsim and two zone databases, at length (root; ARGS='cronsim zones cron')
	@scripts/install-test-servers
	$(BIN)/python -m tests.differential $(ARGS)

fuzz: $(READY) ## throw hostile text at every parser for SECONDS=300; with atheris where it is installed
	FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m tests.fuzz

simulate: $(READY) ## days of drawn faults, seed after seed, held to every promise: ARGS='--minutes 10 --start-seed 1', '--seed 17 --trace'
	$(BIN)/python -m tests.simulation $(ARGS)

chaos: $(READY) ## real runners, workers and servers, and harm done to them: ARGS='--minutes 5 --ledger postgres --broker rabbitmq --seed 1'
	@scripts/install-test-servers
	$(BIN)/python -m tests.chaos $(ARGS)

demo: $(READY) ## the whole thing at work on a small Django project: a worker, a minute of schedule
	@$(BIN)/python examples/difio/demo.py

bench: $(READY) ## measure against the shell script that it replaces; renews the table in bench/README.md
	@$(BIN)/python bench/bench.py

bench-recurrence: $(READY) ## measure due times against cronsim, croniter, celery and APScheduler; renews its table in bench/README.md
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[bench]'
	@$(BIN)/python bench/recurrence.py

bench-faults: $(READY) ## the same faults for celery beat, RedBeat and offbeat (a quarter of an hour); renews the README's table
	@scripts/install-test-servers
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[bench]'
	@$(BIN)/python -m bench.faults $(ARGS)

bench-replicas: $(READY) ## three runners on one ledger: lateness and failover; renews its table in bench/README.md
	@scripts/install-test-servers
	@$(BIN)/python -m bench.replicas $(ARGS)

bench-enqueue: $(READY) ## ledger and broker on one Redis, recording and pushing in one script or in two; renews its table in bench/README.md
	@scripts/install-test-servers
	@$(BIN)/python -m bench.enqueue $(ARGS)

bench-postgres: $(READY) ## the PostgreSQL ledger by itself: rows a second, bytes an occurrence; renews its table in bench/README.md
	@scripts/install-test-servers
	@$(BIN)/python -m bench.postgres $(ARGS)

bench-downtime: $(READY) ## plan a year of downtime with 1,000 minutely entries; renews its table in bench/README.md
	@$(BIN)/python -m bench.downtime $(ARGS)

coverage: $(READY) ## every test once more, with the lines and branches that none of them reaches
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(TESTS) $(ARGS)
	@$(BIN)/coverage combine -q && $(BIN)/coverage report

docs: $(READY) ## write the generated pages anew (docs/reference/cli.md)
	$(BIN)/python scripts/write_docs.py

format: $(READY) ## format and sort imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(READY) ## build dist/offbeat-*.whl
	@rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation

constraints: ## renew constraints.txt with the newest versions
	scripts/pin

clean: ## remove .venv and all that the tools leave behind
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
