# `make demo` and `make test` need Python 3.11, make and git; all else is installed here.
PYTHON ?= python3
BIN := .venv/bin
# torch's CPU build: from PIP_FIND_LINKS where that is set, else from PyTorch's own wheel index.
TORCH_INDEX := $(if $(PIP_FIND_LINKS),,--extra-index-url https://download.pytorch.org/whl/cpu)

# uv installs a lock in a tenth of pip's time; pip does it where uv has no wheel, or can't do it.
# uv reads no variable of pip's; by default it would take a package from the first index that has
# any version of it, and PyTorch's has old ones of some.
comma := ,
empty :=
UV_FIND_LINKS ?= $(subst $(empty) $(empty),$(comma),$(strip $(PIP_FIND_LINKS)))
UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
UV_INDEX_STRATEGY ?= unsafe-best-match
$(foreach name,UV_FIND_LINKS UV_DEFAULT_INDEX UV_INDEX UV_INDEX_STRATEGY,\
  $(if $($(name)),$(eval export $(name))))
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
locked = $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(1) || $(PIP) --no-deps $(1)

# Where Python may not keep its bytecode, each start of vLLM compiles its sources: 29 s of CPU
# instead of 12.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test unit lint gpu-check install install-gpu lock clean

demo: install  ## two on-policy rounds on the CPU, then the report
	$(BIN)/python -m demo.build
	$(BIN)/onpolicy run configs/demo.yaml

# Three processes on two cores: many tests wait for a kill, a schedule or a limit of time.
test: install  ## the whole test suite, in 16 to 22 minutes on two cores
	$(BIN)/python -m pytest -n 3

unit: install  ## the tests that start no engine and no server
	$(BIN)/python -m pytest tests/unit

lint: install  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

gpu-check: .venv/pytest  ## on a GPU: its tests, the figures, rows for benchmarks/RESULTS.md (ONLY="NAME ...")
	$(BIN)/python -m benchmarks.gpu_check $(if $(ONLY),--only $(ONLY))

install: .venv/installed

# --no-deps: the locks are complete, and no resolution satisfies every package's own pins.
.venv/installed: requirements/cpu.txt requirements/dev.txt pyproject.toml | .venv/uv
	$(call locked,$(TORCH_INDEX) -r requirements/cpu.txt -r requirements/dev.txt)
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

.venv/uv: requirements/uv.txt
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps --only-binary :all: -r $< || echo "uv can't be had here: pip installs, in minutes"
	touch $@

install-gpu: .venv/uv  ## the CUDA set, flash-attn built against the torch just installed
	$(call locked,-r requirements/gpu.txt)
	$(PIP) --no-deps --no-build-isolation -r requirements/gpu-flash.txt
	$(PIP) --no-deps --no-build-isolation --editable .

# What tests/gpu need on top of the CUDA set: pytest and what it brings, of the tests' lock.
PYTEST := beartype|execnet|hypothesis|iniconfig|pluggy|pytest|pytest-timeout|pytest-xdist|sortedcontainers
.venv/pytest: requirements/dev.txt | .venv/uv
	grep -E '^($(PYTEST))==' $< > $@.txt
	$(call locked,-r $@.txt)
	touch $@

lock: .venv/uv  ## compile the locks anew
	cd requirements && $(UV) pip compile cpu.in --overrides overrides.txt $(LOCK) -o cpu.txt \
	  $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--extra-index-url https://download.pytorch.org/whl/cpu)
	cd requirements && $(UV) pip compile gpu.in --overrides gpu-overrides.txt $(LOCK) -o gpu.txt
	cd requirements && $(UV) pip compile dev.in --overrides overrides.txt $(LOCK) -o dev.txt
UV := ../$(BIN)/uv
LOCK := --quiet --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links

clean:  ## remove the demo's models and runs, keep the environment
	rm -rf .cache runs
