# Needs Python 3.11+ and make; everything else goes into a virtual environment of its own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes of the tests; each computes with one thread, so that they do not slow each other down.
JOBS ?= 2

.PHONY: help setup test lint demo docs roles oracles clean
help:
	@echo "make demo    set everything up and run the main job"
	@echo "make test    set everything up and run the tests"
	@echo "make lint    formatting, lint, types, layers"
	@echo "make docs    the documents, build/site/index.html"
	@echo "make roles   five people read the documents; stops at the first statement that is not true"
	@echo "make setup   the virtual environment alone ($(VENV))"

setup: $(VENV)/.ready
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Engine needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The originals that some tests compare with. Where one cannot be installed (no C++ compiler, say),
# its tests say so and are skipped.
oracles: $(VENV)/.oracles
$(VENV)/.oracles: $(VENV)/.ready
	-$(BIN)/python -m pip install --quiet setuptools wheel cython more-itertools
	-$(BIN)/python -m pip install --quiet --no-build-isolation youtokentome
	-$(BIN)/python -m pip install --quiet --no-deps 'ruclip==0.0.2'
	@touch $@

test: export OMP_NUM_THREADS = 1
test: setup oracles
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow"
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m slow  # apart: they kill processes, use Ray

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The main job on data that the demo draws itself. Echoed, so that each step can be repeated by hand.
demo: export PATH := $(abspath $(BIN)):$(PATH)
demo: setup
	engine size configs/*.yaml
	engine data make shapes demo/data --force
	engine train configs/tiny/sber_cluster.yaml -o demo/run --force
	engine predict demo/run/model demo/data/test -o demo/predictions.json --html demo/gallery.html
	engine eval --predictions demo/predictions.json --truth demo/data/test/gt.json
	engine bench --folder demo/bench --html demo/leaderboard.html
	engine data make sample_photos demo/photos --force
	engine train configs/tiny/photos.yaml -o demo/photos_run --force
	engine predict demo/photos_run/model demo/photos/test -o demo/photos.json --html demo/photos.html
	engine eval --predictions demo/photos.json --truth demo/photos/test/gt.json
	@echo "Look at demo/leaderboard.html, the leaderboard of all tiny models, and at demo/gallery.html, the"
	@echo "pictures with one model's answers. Again, \`make demo\` trains that one model alone again."

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

roles: setup
	$(BIN)/python -m tests.docs.roles

clean:
	rm -rf $(VENV) build demo
