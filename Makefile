# `make demo` and `make test` need Python 3.11, make and git; all else is installed here.
PYTHON ?= python3
BIN := .venv/bin
# torch's CPU build: from PIP_FIND_LINKS where that is set, else from PyTorch's own wheel index.
TORCH_INDEX := $(if $(PIP_FIND_LINKS),,--extra-index-url https://download.pytorch.org/whl/cpu)

.PHONY: demo test unit lint install install-gpu lock clean

demo: install  ## two on-policy rounds on the CPU, then the report
	$(BIN)/python -m demo.build
	$(BIN)/onpolicy run configs/demo.yaml

test: install  ## the whole test suite, on two cores
	$(BIN)/python -m pytest -n 2

unit: install  ## the tests that start no engine and no server
	$(BIN)/python -m pytest tests/unit

lint: install  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/installed

# --no-deps: the locks are complete, and no resolution satisfies every package's own pins.
.venv/installed: requirements/cpu.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps $(TORCH_INDEX) -r requirements/cpu.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

install-gpu:  ## the CUDA set, flash-attn built against the torch just installed
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-deps -r requirements/gpu.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation -r requirements/gpu-flash.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .

lock:  ## compile the locks anew (needs uv)
	cd requirements && uv pip compile cpu.in --overrides overrides.txt $(LOCK) -o cpu.txt \
	  $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--extra-index-url https://download.pytorch.org/whl/cpu)
	cd requirements && uv pip compile gpu.in --overrides gpu-overrides.txt $(LOCK) -o gpu.txt
	cd requirements && uv pip compile dev.in --overrides overrides.txt $(LOCK) -o dev.txt
LOCK := --quiet --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links

clean:  ## remove the demo's models and runs, keep the environment
	rm -rf .cache runs
