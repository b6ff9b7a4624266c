# `make toys` and `make test` create .venv and install what they need, once. To use an environment
# of your own, name its interpreter: `make test PYTHON=path/to/python`; nothing is installed then.

BOOTSTRAP ?= python3
VENV := .venv

ifdef PYTHON
  RUN := $(PYTHON)
else
  RUN := $(VENV)/bin/python
  experiments := $(VENV)/.installed-experiments
  dev := $(VENV)/.installed-dev
endif

.PHONY: help toys rotation test lint format clean

help:
	@echo "make toys      MAF, RealNVP and neural splines on toy densities: table and pictures"
	@echo "make rotation  a chain of plain bijectors fitted with optax"
	@echo "make test      all tests"
	@echo "make lint      ruff and basedpyright"
	@echo "make format    ruff format and fixes"
	@echo "make clean     remove .venv and caches"

toys: $(experiments)
	$(RUN) -m experiments.toy_densities

rotation: $(experiments)
	$(RUN) -m experiments.rotation

test: $(dev)
	$(RUN) -m pytest

lint: $(dev)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m basedpyright --pythonpath $(RUN)

format: $(dev)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(BOOTSTRAP) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make BOOTSTRAP=python3.12"; exit 1; }
	$(BOOTSTRAP) -m venv $(VENV)

# A stamp is newer than what it was installed from, so that a second run installs nothing.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$*]'
	@touch $@
