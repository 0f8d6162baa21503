# Devbox. `make up` starts it, `make test` proves it.
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: lint format test-setup test

$(VENV)/.stamp: deploy/locks/dev.txt pyproject.toml
	@test -x $(PY) || /usr/bin/python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/locks/dev.txt
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test-setup: $(VENV)/.stamp

lint: $(VENV)/.stamp
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.stamp
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

test: test-setup
	$(PY) -m pytest
