# `make toys` and `make test` create .venv and install what they need, once. To use an environment
# of your own, name its interpreter: `make test PYTHON=path/to/python`; nothing is installed then.
# `make test-lowest` has an environment of its own, .venv-lowest.

BOOTSTRAP ?= python3
VENV := .venv
LOWEST := .venv-lowest

ifdef PYTHON
  RUN := $(PYTHON)
else
  RUN := $(VENV)/bin/python
  experiments := $(VENV)/.installed-experiments
  dev := $(VENV)/.installed-dev
  release := $(VENV)/.installed-release
endif

.PHONY: help toys rotation accelerator test test-slow test-lowest lint format docs release clean

help:
	@echo "make toys         MAF, RealNVP and neural splines on toy densities: table and pictures"
	@echo "make rotation     a chain of plain bijectors fitted with optax"
	@echo "make accelerator  precision, speed and fits on the GPU or TPU of this machine, in minutes"
	@echo "make test         all tests that are quick"
	@echo "make test-slow    those that take longer: kills, devices, docs, experiments, laws of flows"
	@echo "make test-lowest  tests with the lowest versions that pyproject.toml allows"
	@echo "make lint         ruff and basedpyright"
	@echo "make format       ruff format and fixes"
	@echo "make release      build sdist and wheel into dist/, and check them; publishes nothing"
	@echo "make docs         the documentation, docs/_build/html/index.html; DXF_DOCS_QUICK=1 fits less"
	@echo "make clean        remove environments and caches"

toys: $(experiments)
	$(RUN) -m experiments.toy_densities

rotation: $(experiments)
	$(RUN) -m experiments.rotation

accelerator: $(experiments)
	$(RUN) -m experiments.benchmarks.accelerator

test: $(dev)
	$(RUN) -m pytest

test-slow: $(dev)
	$(RUN) -m pytest -m slow

# Gradients, training, saving and the command line: what leans on JAX, Haiku, optax, orbax and tyro.
test-lowest: $(LOWEST)/.installed-test
	$(LOWEST)/bin/python -m pytest tests/test_autoregressive.py tests/test_training.py \
	  tests/test_saving.py tests/test_checkpoints.py tests/test_packaging.py \
	  tests/test_command_line.py

lint: $(dev)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m basedpyright --pythonpath $(RUN)

format: $(dev)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# One process: Sphinx forks the others (-j), and a fork of a process that runs JAX may hang.
docs: $(dev)
	$(RUN) -m sphinx -W --keep-going -n docs docs/_build/html

release: $(release)
	$(RUN) tools/release.py

clean:
	rm -rf $(VENV) $(LOWEST) dist .pytest_cache .ruff_cache .hypothesis docs/_build docs/api
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python $(LOWEST)/bin/python: %/bin/python:
	@$(BOOTSTRAP) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make BOOTSTRAP=python3.12"; exit 1; }
	$(BOOTSTRAP) -m venv $*

# A stamp is newer than what it was installed from, so that a second run installs nothing.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$*]'
	@touch $@

$(LOWEST)/.installed-test: pyproject.toml constraints-lowest.txt | $(LOWEST)/bin/python
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints-lowest.txt --editable '.[test]'
	@touch $@
