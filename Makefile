# make run: from a fresh clone to the table of results.  make test: the tests.  Both build the environment when needed.
PYTHON ?= python3
PORT ?= 5001
# TORCH=cpu: a new environment gets the build of PyTorch without CUDA (0.2 GB to download on Linux instead of 2.7 GB).
TORCH ?=
$(if $(filter-out cpu,$(TORCH)),$(error TORCH is '$(TORCH)'; it must be cpu, or empty for PyTorch's default build))
# Where make gpu writes its report.
OUT ?= gpu
BIN := .venv/bin
HEAR := .venv-hear/bin
# Whether this folder has a commit of a repository of its own, and git is there.
GIT := git rev-parse --verify HEAD >/dev/null 2>&1 && git ls-files --error-unmatch params.yaml >/dev/null 2>&1
# dvc runs the stages through a shell, which finds symphony2vec here.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help run demo paper test test-slow portable lint env scm needs-git ui bench docs gpu hear clean music

help:
	@echo "make run    build the environment, fill data/ with the starter corpus if it is empty, run the pipeline, show results;"
	@echo "            TORCH=cpu builds it with the small PyTorch without CUDA"
	@echo "make demo   the whole pipeline on a hundred clips, in about two minutes, in a project of its own in demo/"
	@echo "make paper  the whole study: five seeds, and the splits by movement and by clip beside it (hours)"
	@echo "make test   lint, type-check and test, without the long tests"
	@echo "make test-slow  the long tests: workers, servers, killed processes, DVC experiments, notebooks"
	@echo "make portable  run the numerical tests as on an older processor"
	@echo "make docs   write the documentation as a site, with the API reference, to the folder site/"
	@echo "make ui     open the MLflow UI on http://127.0.0.1:5001"
	@echo "make bench  measure speed and memory"
	@echo "make gpu    test and measure on a GPU, in eight minutes, and write the report to the folder gpu/ (OUT=folder)"
	@echo "make hear   run the HEAR benchmark's validator, in an environment of its own (4 GB); MODEL=champion takes your model"
	@echo "make clean  remove the environment (music, outputs and runs stay)"

run: env scm music
	$(BIN)/dvc repro
	@$(BIN)/symphony2vec results

# A repository of its own, so that dvc exp works in it. The runs stay in demo/, also where the environment names a server.
demo: env
	@$(BIN)/python scripts/demo.py demo
	@cd demo && if git --version >/dev/null 2>&1; then git init -q; else ../$(BIN)/dvc config --local core.no_scm true; fi
	@cd demo && env -u MLFLOW_TRACKING_URI -u MLFLOW_DEFAULT_ARTIFACT_ROOT ../$(BIN)/dvc repro
	@cd demo && [ ! -d .git ] || { git add -A && { git diff --cached --quiet || \
		git -c user.name=demo -c user.email=demo@localhost -c commit.gpgsign=false commit -qm "make demo"; }; }
	@env -u MLFLOW_TRACKING_URI $(BIN)/symphony2vec --project demo results

# Sets the folds in params.yaml and trains those that are missing.
paper: needs-git env scm music
	$(BIN)/dvc exp run -S 'folds=[work-0,work-1,work-2,work-3,work-4,movement-0,clip-0]'
	@$(BIN)/symphony2vec results

# DVC asks git, unless it is told that there is none: the project may come from a zip file.
scm: env
	@if $(GIT); then ! grep -qs no_scm .dvc/config.local || $(BIN)/dvc config --local --unset core.no_scm; \
	else $(BIN)/dvc config --local core.no_scm true; fi

needs-git:
	@$(GIT) || { echo "make paper needs git (dvc exp run), and this folder has no commit of its own. Try:" \
		"git init && git add . && git commit -m start; or list the folds in params.yaml and run: make run"; exit 1; }

music: env
	@! grep -q '^  name: starter' params.yaml || [ -f data/starter/catalogue.csv ] || $(BIN)/symphony2vec corpus starter

# A process a core, each with one thread; the tests of a file stay together.
test: env lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

test-slow: env
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile -m slow tests
	$(OLD_PROCESSOR) $(BIN)/pytest -n auto -m slow -k "not kill and not worker" $(NUMERICAL:%=tests/test_%.py)

# The numerical tests with older instructions and two threads: what holds by rounding on one processor fails here.
OLD_PROCESSOR := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem \
	MKL_CBWR=COMPATIBLE NPY_DISABLE_CPU_FEATURES="AVX2 FMA3" OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2
NUMERICAL := temporal_networks temporal_losses temporal_views temporal_learner ali_networks classifiers_networks \
	embeddings_networks features scaling probe generation listening

portable: env
	$(OLD_PROCESSOR) $(BIN)/pytest -n auto -k "not kill and not worker" $(NUMERICAL:%=tests/test_%.py)

lint: env
	$(BIN)/ruff check src tests benchmarks scripts notebooks pretrained
	$(BIN)/ruff format --check src tests benchmarks scripts notebooks pretrained
	$(BIN)/mypy

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

ui: env
	uri=$$($(BIN)/symphony2vec runs settle) && exec $(BIN)/mlflow ui --port $(PORT) --backend-store-uri "$$uri"

bench: env
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/audio.py
	$(BIN)/python benchmarks/ali.py
	$(BIN)/python benchmarks/temporal.py
	$(BIN)/python benchmarks/embedding.py --recordings 6 --seconds 90
	$(BIN)/python benchmarks/tracking.py
	$(BIN)/python benchmarks/study.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/memory.py

gpu: env
	$(BIN)/python benchmarks/gpu.py --out '$(OUT)'

hear: .venv-hear/.ready
	$(if $(MODEL),$(HEAR)/hear-validator symphony2vec.hear --model '$(MODEL)' --device cpu,$(BIN)/pytest -rs tests/test_hear.py)

env: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "symphony2vec needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make environments with pip; on Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(if $(TORCH),$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-deps --index-url https://download.pytorch.org/whl/cpu torch)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The validator wants tensorflow.
.venv-hear/.ready: .venv/.ready
	$(PYTHON) -m venv .venv-hear
	$(HEAR)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[hear]'
	@touch $@

clean:
	rm -rf .venv .venv-hear
