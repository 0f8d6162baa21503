# Devbox. `make up` starts it, `make test` proves it, `make help` lists the rest.
VENV := .venv
PY := $(VENV)/bin/python
DEVBOX := $(VENV)/bin/devbox
ROOT := $(DEVBOX_ROOT)
DATA := $(if $(ROOT),$(ROOT)/data,/var/lib/devbox)

.PHONY: help up down demo status test test-setup smoke soak lint format fuzz bench docs lock

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

up: ## Install what is missing, start the server, build the first runtime
	@deploy/setup.sh packages server
	@deploy/setup.sh venv server
	@$(PY) -m in_box_agent.bundle --out $(DATA)/bundle --prune >/dev/null
	@$(DEVBOX) server up --runtime python

down: ## Stop everything; loses nothing
	@$(DEVBOX) server down

demo: ## Tell the whole story, step by step, with times
	@$(DEVBOX) --context local demo

status: ## What runs
	@$(DEVBOX) server status

test-setup:
	@deploy/setup.sh packages server test
	@deploy/setup.sh venv dev

test: test-setup lint ## Everything that is checked
	@deploy/setup.sh go
	$(PY) -m pytest

smoke: test-setup ## A short selection of the suite
	$(PY) -m pytest -m smoke

soak: test-setup ## What takes hours: thousands of kills, large trees
	$(PY) -m pytest -m soak --timeout 14400

lint: test-setup ## Form, types, import layers
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports | tail -1

format: test-setup ## Bring the code into form
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

fuzz: test-setup ## Fuzz every parser of what peers send; needs atheris (`pip install atheris`)
	$(PY) -m tests.fuzz.run --seconds 60

bench: test-setup ## Figures beside the best peers; a quiet machine, please
	@deploy/setup.sh packages bench
	$(PY) -m bench.save
	$(PY) -m bench.create
	$(PY) -m bench.restart
	$(PY) -m bench.tunnel
	$(PY) -m bench.tunnel --tls
	$(PY) -m bench.gateway
	$(PY) -m bench.gateway --tls
	$(PY) -m bench.redial
	$(PY) -m bench.ssh
	$(PY) -m bench.keystroke
	$(PY) -m bench.keystroke --mbit 20 --rtt 50
	$(PY) -m bench.agent

docs: test-setup ## Draw the diagrams in docs/ from their tables again
	$(PY) deploy/diagrams.py docs/*.md

lock: ## Resolve the dependencies again
	deploy/lock.sh
