PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
ENGINES := .venv-engines
export PYTHONDONTWRITEBYTECODE :=  # or each process of the suite compiles every module again

help:  ## Show this list (the default)
	@grep -hE '^[a-z -]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(READY)  ## Make .venv with everything in it (1 to 10 minutes)

$(READY): pyproject.toml constraints.txt
	@echo "Installing into .venv: PyTorch and other packages, 1.8 GB with a CPU build of PyTorch, some 5 GB more with a CUDA build; one to ten minutes."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "Installed $$(du -sh .venv | cut -f1) into .venv. Next: . .venv/bin/activate && sentiment --help"

demo: $(READY)  ## Train, evaluate and predict on the bundled synthetic sample, some 20 s once installed
	run=$$($(BIN)/sentiment train sample) && \
	$(BIN)/sentiment eval "$$run" && \
	$(BIN)/sentiment predict --run "$$run" "Although the music was lovely, the plot was not good."

test: $(READY)  ## Run the test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto -m "not slow"

coverage: $(READY)  ## Run the test suite and print which lines it covers
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto -m "not slow" --cov=sentiment_cli --cov-report=term:skip-covered

slow: $(READY)  ## Run the tests that take minutes
	$(BIN)/pytest -q -m slow

pretended: $(READY)  ## Run the tests of the GPU path on a pretended CUDA device (two minutes; needs a C++ compiler)
	PYTHONPATH=tests/support:benchmarks OMP_NUM_THREADS=1 $(BIN)/pytest -q -p pretended_cuda.plugin -m "pretended or gpu" tests/pretended tests/models

engines: $(ENGINES)/ready  ## Run Ray, Spark, MLflow and W&B for real, in .venv-engines (3 GB, some minutes; needs Java 17)
	OMP_NUM_THREADS=1 $(ENGINES)/bin/pytest -q -rs tests/engines tests/workflows/test_tracking.py

$(ENGINES)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(ENGINES)
	@$(ENGINES)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[engines]'
	@touch $@

check: $(READY)  ## Check format, lint, types and imports, then run the test suite
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test
	$(MAKE) pretended

docs: $(READY)  ## Write the documentation as a site to site/, which needs no network
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

faults: $(READY)  ## Do random faults to data for 20 minutes, then to 200 trainings, and count what goes wrong
	$(BIN)/python benchmarks/faults.py
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m slow tests/workflows/test_random_kills.py

train: $(READY)  ## Train the default experiment on IMDb, then score it on the test reviews
	run=$$($(BIN)/sentiment train) && $(BIN)/sentiment eval "$$run"

imdb-vectors imdb-lm imdb-lm-backward imdb-autoencoder imdb-best-lm: $(READY)  ## Pretrain on IMDb's unlabelled reviews
	$(BIN)/sentiment pretrain $@

linear linear-taught best-labels gru-bigrams imdb-student imdb-best-cpu imdb-best: $(READY)  ## Train that experiment, and what it starts from, then score it
	run=$$($(BIN)/sentiment train $@) && $(BIN)/sentiment eval "$$run"

pocket: $(READY)  ## Train the model that comes with the package and its teachers (20 minutes), and compare it with the one here
	run=$$(OMP_NUM_THREADS=1 $(BIN)/sentiment train pocket) && \
	$(BIN)/sentiment export "$$run" --precision fp16 --pack "$$run/pocket.model" && \
	$(BIN)/python benchmarks/same_model.py "$$run/pocket.model" sentiment_cli/pocket.model

clean:  ## Remove the virtual environment and what tools cached; data and runs stay
	rm -rf .venv $(ENGINES) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help install demo test coverage slow docs faults pretended check train engines clean imdb-vectors imdb-lm imdb-lm-backward imdb-autoencoder
.PHONY: pocket imdb-best-lm linear linear-taught best-labels gru-bigrams imdb-student imdb-best-cpu imdb-best
