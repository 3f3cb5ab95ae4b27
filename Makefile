# The README's two commands. Each makes .venv on a bare machine with Python 3.11, then does its job.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints/cpu.txt

.PHONY: demo test lint base preference baseline docs figures clean

demo: $(VENV)/.installed  ## fine-tune the embedded model with GRPO-Guard, in minutes on two cores
	$(BIN)/guardcore train

test: $(VENV)/.installed-dev lint  ## what CI runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow and not gpu'

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

base: $(VENV)/.installed-dev  ## train the embedded models anew, an hour each on two cores
	$(BIN)/python -m guardcore_plugins.tiny_world.train --out plugins/guardcore_plugins/tiny_world --work build/base

preference: $(VENV)/.installed-dev  ## train the embedded preference model anew, about 12 minutes on one core
	$(BIN)/python -m guardcore_plugins.tiny_world.preference --out plugins/guardcore_plugins/tiny_world/preference

baseline: $(VENV)/.installed-dev  ## measure docs/baseline.json anew, on two quiet cores
	OMP_NUM_THREADS=1 $(BIN)/guardcore bench --pairs 3 --processes 2 --json > docs/.baseline.json
	mv docs/.baseline.json docs/baseline.json

docs: $(VENV)/.installed-dev  ## the reference from the code, then the site, in site/
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

figures: $(VENV)/.installed-dev  ## draw the documentation's figures anew
	$(BIN)/python docs/figures/draw.py

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints/cpu.txt
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints/cpu.txt
	$(PIP) -e '.[dev]'
	-$(PIP) -e '.[brisque]'  # compiles libsvm; without a C++ compiler its tests are skipped
	touch $@

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
