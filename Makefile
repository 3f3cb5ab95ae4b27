# The README's two commands. Each makes .venv on a bare machine with Python 3.11, then does its job.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints/cpu.txt
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint base clean

demo: $(VENV)/.installed  ## fine-tune the embedded model with GRPO-Guard, about 8 minutes on two cores
	$(BIN)/guardcore train

test: $(VENV)/.installed-dev lint  ## what CI runs
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

base: $(VENV)/.installed-dev  ## train the embedded model anew, about an hour on two cores
	$(BIN)/python -m guardcore_plugins.tiny_world.train --out plugins/guardcore_plugins/tiny_world/sd3

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints/cpu.txt
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints/cpu.txt
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
