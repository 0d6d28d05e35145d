# Makes the environment and calls what a person would call.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test unit test-slow test-faults bench bench-gpu lint types docs notebooks package check format clean

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: setup ## the whole loop on the embedded data set
	$(BIN)/python train.py

# A file of tests goes to one process: its tests share what they make.
BY_FILE := --dist loadfile --no-loadscope-reorder
# Else each of the many programs that tests start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

test: setup build/npm ## for two cores: a test computes on one thread, and waits for servers, browsers and timers now and then
	$(BIN)/python -m pytest -n 3 $(BY_FILE)

# ONNX Runtime Web, for the tests of the exported page, which are skipped without it.
build/npm:
	-npm install --silent --no-save --prefix $@ $$(sed -n 's/^PACKAGE = "\([^"]*\)".*/\1/p' audiotag/export/web.py)

unit: setup ## the fast ones: none starts a process or trains
	$(BIN)/python -m pytest -n 2 $(BY_FILE) tests/unit tests/configs tests/golden

test-slow: setup ## the tests that take minutes each
	$(BIN)/python -m pytest -m slow

test-faults: setup ## every way to end a job, five times on both ways to use two devices; about an hour
	$(BIN)/python -m pytest -m slow tests/integration/test_faults.py

bench: setup ## spectrograms, training, consensus and starts against what bounds them: docs/performance.md
	$(BIN)/python -m benchmarks.front_ends
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.startup 1

bench-gpu: setup ## a training step of the paper's network against the GPU's rate of matrix products
	$(BIN)/python -m benchmarks.training_step 64 384 100

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# The variable silences the theme's announcement of its own end, which concerns maintainers: see mkdocs.yml.
docs: setup ## the site, build/site; look with: python -m http.server --directory build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebooks: demo ## what they show, as pages that load nothing from elsewhere: build/notebooks
	$(BIN)/python -m nbconvert --execute --to html --output-dir build/notebooks notebooks/*.ipynb \
	    --HTMLExporter.require_js_url= --HTMLExporter.mathjax_url=

package: setup ## the wheel, installed into an environment of its own and tried in an empty folder; what it needs, .venv lends
	rm -rf build/package && mkdir -p build/package/empty
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/package .
	$(BIN)/python -m venv build/package/venv
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    > $$(build/package/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lent.pth
	build/package/venv/bin/pip install --quiet --no-deps build/package/*.whl
	cd build/package/empty && ../venv/bin/python -c 'import audiotag; assert "/build/package/" in audiotag.__file__' \
	    && ../venv/bin/audiotag train experiment=smoke finetune_rounds=0 run=tried && ../venv/bin/audiotag verify run=tried \
	    && ../venv/bin/audiotag predict run=tried split=test && ../venv/bin/audiotag export run=tried to=folder

check: lint types test docs package

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## everything that can be made again; run folders are kept
	rm -rf .venv cache build *.egg-info .pytest_cache .ruff_cache .mypy_cache
