# `make demo`, `make quick` and `make test` work on a machine that has python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo quick test lint install clean

demo: install
	$(BIN)/llgen demo

# Two workers begin at both halves of the tests; one that is done takes over part of the other's.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist worksteal

# What needs no compiler, no emulator and no training, and one digest of the machine at hand (tests/lib/slow.py).
quick: install
	$(PYTEST) -m "not slow" $(PYTEST_FLAGS)

test: install lint
	$(PYTEST) $(PYTEST_FLAGS)

# mypy sees the package as it is installed: the four code folders under one name.
lint: install
	$(BIN)/ruff check .
	mkdir -p build/types/llgen
	for folder in trainer codegen templates targets; do ln -sfn ../../../$$folder build/types/llgen/$$folder; done
	for file in codegen/base/*.py; do ln -sf ../../../$$file build/types/llgen; done
	MYPYPATH=build/types $(BIN)/mypy -p llgen

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,report,test]'
	touch $@

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
