# Needs make and a Python 3.11 or newer, nothing else. `make` alone lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
UV := $(BIN)/uv pip

# pip as it comes with Python. To install it takes longer than all that it, or uv, has to install; and where uv can
# install the rest, pip is only asked for uv, as it lies there.
ADD_PIP := $(BIN)/python -m ensurepip --upgrade --default-pip >/dev/null
FIND_PIP := import ensurepip, glob, sysconfig; \
	places = (ensurepip.__path__[0] + "/_bundled", sysconfig.get_config_var("WHEEL_PKG_DIR") or "/usr/share/python-wheels"); \
	print([wheel for place in places for wheel in glob.glob(place + "/pip-*.whl")][0])

# Stamps, in .venv, so that they go when it goes: installed to be run, installed to be worked on.
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready

# uv asks where pip would.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Compiled modules lie in .venv, also for those who want none beside the sources: most tests start processes, and
# compiling takes three times as long as importing.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo setup test simulate mutants interleave chaos crashes lint format screens screenshots bench soak growth closing dashboard lock vendor clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED) ## watch a tree of tasks grow, also in a browser: DEMO_PATH=some/directory (default: this one)
	@$(BIN)/fanwood demo --ui "$(or $(DEMO_PATH),.)"

setup: $(READY) ## .venv with the package and all tools, exactly as locked

test: rules ## lint, and all tests
	@$(BIN)/python -m tests.postgres.installation
	@$(BIN)/python -m tests.browser.installation
	@$(BIN)/python -m pytest -q -p tests.beside.plugin -p tests.beside.in_turn -p tests.beside.drawn -p tests.beside.forks --forks 5 \
		--hypothesis-profile ci

simulate: $(READY) ## worlds on virtual time, on all cores: SEEDS=1000, or MINUTES=10; STORE=sqlite, FIRST=5000, BRIEF=1, SHAPE=narrow, SEED=7 for one
	@$(BIN)/python -m tests.simulation --remember $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE)) $(if $(BRIEF),--brief) $(if $(SHAPE),--shape $(SHAPE)) --seeds $(or $(SEEDS),1000) --minutes $(or $(MINUTES),0) --first $(or $(FIRST),0)

mutants: $(READY) ## plant mistakes, one at a time, and see each caught: NAME=sqlite for those that begin so
	@$(BIN)/python -m tests.postgres.installation
	@$(BIN)/python -m tests.mutants $(if $(filter command line,$(origin NAME)),$(NAME)) $(MUTANTS_ARGS)

interleave: $(READY) ## each pair of PostgreSQL's routines at once, stopped at every statement: an hour; INTERLEAVE_ARGS="-k prune"
	@$(BIN)/python -m tests.postgres.installation
	@FANWOOD_INTERLEAVING=full $(BIN)/python -m pytest tests/interleaving -q -n 2 $(INTERLEAVE_ARGS)

chaos: $(READY) ## kill, freeze, cut off and crash, at full size: the better part of an hour; CHAOS_ARGS="-k cut"
	@$(BIN)/python -m tests.postgres.installation
	@FANWOOD_CHAOS=full $(BIN)/python -m pytest $(BY_CHANCE) -q -s $(CHAOS_ARGS)

# What has a short form in `make test`: the size is `scaled` (tests/chaos/scale.py), or one database is taken, or what is
# `long` is left out (tests/beside/in_turn.py).
BY_CHANCE := tests/beside tests/benchmarks tests/browser tests/chaos tests/examples tests/faults tests/semantics tests/server \
	tests/testing tests/typing tests/crashes/test_sweep.py \
	tests/cli/test_check.py tests/cli/test_db.py tests/cli/test_demo.py tests/cli/test_demo_runs.py tests/cli/test_help.py \
	tests/cli/test_worker.py \
	tests/conformance/test_against_oracle.py tests/conformance/test_differential.py tests/conformance/test_lens.py \
	tests/postgres/test_cluster.py tests/postgres/test_connections.py tests/postgres/test_doctor.py \
	tests/postgres/test_gates.py tests/postgres/test_lost_answers.py tests/postgres/test_plans.py \
	tests/postgres/test_pooled.py tests/postgres/test_races.py tests/postgres/test_sessions.py \
	tests/postgres/test_standby.py tests/postgres/test_surroundings.py tests/postgres/test_tidying.py \
	tests/postgres/test_wakeups.py \
	tests/simulation/test_simulation.py::test_a_day_of_twenty_workers \
	tests/simulation/test_simulation.py::test_a_seed_says_everything \
	tests/unit/test_codec.py tests/unit/test_planned.py tests/unit/test_schemas.py tests/unit/test_travelling.py

crashes: $(READY) ## kill processes at every point of every scenario: an hour; CRASHES_ARGS="--once --scenario cancel"
	@$(BIN)/python -m tests.postgres.installation
	@$(BIN)/python -m tests.crashes $(CRASHES_ARGS)

lint: rules ## format, rules and types, those of tests as well; changes nothing
	@$(BIN)/python -m tests.beside.types

format: $(READY) ## format, and repair what can be repaired
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

screens: $(READY) ## write docs/reference/screens.md and rest.md anew: what commands look like, and what the API says
	@$(BIN)/python -m tests.docs.screens
	@$(BIN)/python -m tests.docs.rest

screenshots: $(READY) ## take the pictures of the dashboard's pages, into docs/pictures
	@$(BIN)/python -m tests.browser.installation
	@$(BIN)/python -m tests.browser.screenshots $(SCREENSHOTS_ARGS)

bench: $(READY) ## measure: BENCH_ARGS="--help"
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

soak: $(READY) ## grow for SOAK_MINUTES=20 and look whether anything does: SOAK_ARGS="--help"
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(SOAK_MINUTES),20) $(SOAK_ARGS)

growth: $(READY) ## does any verb take longer with 5,000,000 runs of history: GROWTH_ARGS="--help"
	@$(BIN)/python -m benchmarks.growth $(GROWTH_ARGS)

closing: $(READY) ## end something very large; is anybody disturbed: CLOSING_ARGS="--help"
	@$(BIN)/python -m benchmarks.closing $(CLOSING_ARGS)

dashboard: $(READY) ## measure the dashboard with a tree of a million runs: DASHBOARD_ARGS="--help"
	@$(BIN)/python -m benchmarks.dashboard $(DASHBOARD_ARGS)

lock: ## write the lock files anew from pyproject.toml
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip --quiet --disable-pip-version-check install --upgrade uv
	@$(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--extra fast --group dev --no-emit-index-url --custom-compile-command "make lock" \
		--output-file requirements-dev.lock pyproject.toml
	@$(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--group postgres-server --no-deps --no-emit-index-url --custom-compile-command "make lock" \
		--output-file tests/postgres/server.lock
	@$(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--group installer --no-deps --no-emit-index-url --custom-compile-command "make lock" \
		--output-file tests/installer.lock

vendor: $(READY) ## fetch the pages' libraries anew, with npm, as pinned in tests/vendoring
	@$(BIN)/python -m tests.vendoring

clean: ## remove .venv, builds and caches (never a database)
	@rm -rf $(VENV) $(VENV)-lock build dist .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- behind the scenes -----------------------------------------------------------------------------------------------

PAGES := src/fanwood/server/web

.PHONY: rules
rules: $(READY)
	@$(BIN)/ruff format --check . || { echo "make format puts these right" >&2; exit 1; }
	@$(BIN)/ruff check .
	@$(BIN)/oxlint --quiet --deny-warnings --no-error-on-unmatched-pattern $(PAGES)

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "Fanwood needs Python 3.11 or newer, and there is no $(PYTHON). Name another: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Fanwood needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" -V 2>&1). Name another: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) comes without venv or ensurepip. On Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	@"$(PYTHON)" -m venv --clear --without-pip $(VENV) || { rm -rf $(VENV); exit 1; }

$(INSTALLED): pyproject.toml | $(BIN)/python
	@echo "Installing fanwood into $(VENV) ..."
	@$(BIN)/python -c "import pip" 2>/dev/null || $(ADD_PIP)
	@$(PIP) install --editable '.[pydantic,server]'
	@touch $@

$(READY): requirements-dev.lock tests/installer.lock pyproject.toml | $(BIN)/python
	@echo "Installing fanwood and its tools into $(VENV) ..."
	@wheel=$$($(BIN)/python -c '$(FIND_PIP)') \
		&& PYTHONPATH=$$wheel $(PIP) install --require-hashes --only-binary :all: --no-compile --requirement tests/installer.lock \
		&& $(UV) install --quiet --python $(BIN)/python --no-deps --no-index $$wheel \
		&& $(UV) install --quiet --python $(BIN)/python --require-hashes --requirement requirements-dev.lock \
		&& $(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . || { \
		echo "... by pip, as uv could not"; \
		$(ADD_PIP) && $(PIP) install --require-hashes --no-compile --requirement requirements-dev.lock \
		&& $(PIP) install --no-deps --no-build-isolation --editable .; }
	@check="$(UV) check --quiet --python $(BIN)/python"; [ -x $(BIN)/uv ] || check="$(PIP) check"; \
		conflicts=$$($$check 2>&1) || { echo "$$conflicts" >&2; echo "pyproject.toml asks for what requirements-dev.lock hasn't: make lock" >&2; exit 1; }
	@touch $(INSTALLED) $@
