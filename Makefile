# The commands of Maillon; each creates .venv from the lock file when it is missing or older than the lock.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PAGES  ?= site
RUNS   := tests/output/runs

.PHONY: install demo test lint bench bench-check chaos assurance docs lock clean

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

demo: install
	$(BIN)/maillon demo $(if $(ONCE),--once,) $(if $(PORT),--port $(PORT),)

# Each command that a test starts in a process of its own is compiled once, wherever Python is told to keep nothing.
test: export PYTHONDONTWRITEBYTECODE :=
test: install
	sh tests/machine.sh
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not chaos" --junitxml=$(RUNS)/test.xml $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/maillon lint

bench: install
	$(BIN)/maillon bench

bench-check: install
	$(BIN)/python bench/check.py

chaos: install
	$(BIN)/python -m pytest -m chaos --junitxml=$(RUNS)/chaos.xml $(ARGS)

# The table of numbered checks, from the last runs of `make test` and `make chaos`.
assurance: install
	$(BIN)/python docs/assurance.py $(wildcard $(RUNS)/*.xml)

docs: install
	$(BIN)/python docs/build.py $(PAGES)

lock: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra build --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header -o requirements.lock

clean:
	rm -rf $(VENV) var site tests/output
