# Each target makes, or refreshes, the virtual environment it needs; nothing has to be installed or activated first.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo demo-delta test test-connect lanes lane-3.5 lane-4.0 lane-4.1 lane-4.2 lane-databricks-connect \
    lane-python lane-s3 lane-azure check format docs dist bench bench-guard soak mutants pins clean

VENV := .venv
BIN := $(VENV)/bin
PINNED := pyproject.toml constraints.txt .ci/make-venv
# Spark finds Java by JAVA_HOME; a recipe that starts with this stops with one line when there is none.
WITH_JAVA = set -e; JAVA_HOME="$$(.ci/find-java)"; export JAVA_HOME;

help: ## list the targets
	@sed -n 's/^\([a-z0-9.-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: $(VENV)/.demo ## the main job on a year of real flights, from landing folder to sink
	@$(WITH_JAVA) $(BIN)/spark-batchintory demo

demo-delta: $(VENV)/.demo-delta ## the same with nothing but Delta tables; fetches their jars the first time
	@$(WITH_JAVA) $(BIN)/spark-batchintory demo --delta

test: $(VENV)/.dev ## every test, on SQLite, PostgreSQL, MariaDB and Spark; README, docs and notebooks too
	@.ci/find-mariadb
	@.ci/find-pybatchintory >/dev/null
	@.ci/find-program pgbouncer faketime chromium
	@$(WITH_JAVA) $(BIN)/python -m pytest --numprocesses=2 $(PYTEST_ARGS)

test-connect: $(VENV)/.dev ## those with Spark once more, on Spark Connect; PYTEST_ARGS="tests/spark/test_reader.py" for a part
	@.ci/find-mariadb
	@$(WITH_JAVA) SPARK_API_MODE=connect $(BIN)/python -m pytest --numprocesses=2 $(PYTEST_ARGS)

# An environment of its own for each, made once, in .lanes; lane-3.5 … lane-4.2, lane-databricks-connect, lane-python,
# lane-s3 and lane-azure by themselves. PYTEST_ARGS=tests/spark/test_reader.py runs a part, LANE_MODES=classic one mode.
lanes: lane-3.5 lane-4.0 lane-4.1 lane-4.2 lane-databricks-connect ## reader, sinks and Delta on every Spark that is supported

lane-databricks-connect:
	@for version in 15.4 16.4 17.3 18; do .ci/lane-client $$version || exit; done

lane-python: ## the tests without Spark on every Python there is
	@for version in 3.10 3.12 3.13; do .ci/lane-python $$version $(PYTEST_ARGS) || exit; done

lane-s3 lane-azure: lane-%: ## the reader on S3 (moto), on Azure (Azurite)
	@.ci/lane-store $* $(PYTEST_ARGS)

lane-3.5 lane-4.0 lane-4.1 lane-4.2: lane-%:
	@.ci/lane-spark $* $(PYTEST_ARGS)

check: $(VENV)/.dev ## linters, formatting, types, direction of imports, docstrings, and that no mutant is stale
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	@find spark_batchintory -name '*.py' -exec $(BIN)/numpydoc lint {} +
	@$(BIN)/python -m mutants --list >/dev/null

format: $(VENV)/.dev ## what the linters can mend themselves
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.site ## the documentation as a site, in build/site, with every link checked
	@$(BIN)/python -m website

dist: $(VENV)/.dist ## sdist and wheel in dist/, each tried in an empty environment; DIST_ARGS="contents sql" for a part of that
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation
	@$(BIN)/python -m twine check --strict dist/*
	@.ci/check-dist $(DIST_ARGS)

bench: $(VENV)/.dev ## the measurements of docs/performance.md and docs/scaling.md
	@.ci/find-mariadb
	@.ci/find-pybatchintory >/dev/null
	@.ci/find-procrastinate >/dev/null
	@$(WITH_JAVA) $(BIN)/python -m benchmarks

bench-guard: $(VENV)/.dev ## a minute of ratios that a change must not break
	@$(BIN)/python -m benchmarks --guard

soak: $(VENV)/.dev ## kill and stop workers on 100,000 items, then reconcile; SOAK_ARGS="--database sqlite --seed 7"
	@.ci/find-mariadb
	@.ci/find-program pgbouncer
	@$(BIN)/python -m soak $(SOAK_ARGS)

mutants: $(VENV)/.dev ## take out one guard at a time, and see the tests fail; MUTANTS_ARGS="--database sqlite" for a part
	@.ci/find-mariadb
	@.ci/find-pybatchintory >/dev/null
	@$(BIN)/python -m mutants $(MUTANTS_ARGS)

pins: $(VENV)/.dev ## renew constraints.txt: the newest versions that Python 3.10 and later can have
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --strip-extras --no-annotate \
	    --custom-compile-command "make pins" --extra all --extra demo --group dev --group site --group dist \
	    pyproject.toml --output-file constraints.txt

clean: ## remove the virtual environment and everything that was built
	rm -rf $(VENV) .lanes build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo: $(PINNED)
	@.ci/make-venv $(VENV) --editable '.[demo]'
	@touch $@

$(VENV)/.demo-delta: $(PINNED)
	@.ci/make-venv $(VENV) --editable '.[demo,delta]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(PINNED)
	@.ci/make-venv $(VENV) --editable '.[demo,postgres,mysql]' --group dev
	@touch $@ $(VENV)/.demo $(VENV)/.demo-delta

$(VENV)/.dist: $(PINNED)
	@.ci/make-venv $(VENV) --group dist
	@touch $@

$(VENV)/.site: $(PINNED)
	@.ci/make-venv $(VENV) --editable . --group site
	@touch $@
