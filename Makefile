# make run: from a fresh clone to the table of results.  make test: the tests.  Both build the environment when needed.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

.PHONY: help run test lint env ui bench clean

help:
	@echo "make run    build the environment, fill data/ with the starter corpus if it is empty, run the pipeline, show results"
	@echo "make test   lint, type-check and test"
	@echo "make ui     open the MLflow UI on http://127.0.0.1:5000"
	@echo "make bench  measure speed and memory"
	@echo "make clean  remove the environment (music, outputs and runs stay)"

run: env
	@ls data/*/catalogue.csv >/dev/null 2>&1 || symphony2vec corpus starter
	dvc repro
	@symphony2vec results

test: env lint
	pytest

lint: env
	ruff check src tests benchmarks
	ruff format --check src tests benchmarks
	mypy

ui: env
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlruns/mlflow.db}"

bench: env
	python benchmarks/features.py
	python benchmarks/audio.py
	python benchmarks/memory.py

env: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "symphony2vec needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv
