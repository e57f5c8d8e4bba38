# make demo          a real disk image backed up, backed up again, verified, restored, compared
# make demo-stores   the same with three stores: a directory, an SSH server, an emulator of GCS
# make serve         the service on this machine, port 8776 or BF_PORT, until Ctrl-C
# make test          lint, then all tests but the long ones
# make test-long     the long ones
# make fuzz          coverage-guided inputs for every parser; SECONDS=60 for each, PARSERS='map table'
# make coverage      branches of what commits, deletes and seals that tests of it do not run
# make mutants       small changes of the same that its tests do not see; MUTANTS='--count 60'
# make system-deps   the Debian packages of bindep.txt, as root
# make bench         our speed beside cp, borg, restic and Cinder; BENCH='--mib 256 --rounds 1'
# make bench-service jobs a minute and requests a second; BENCH='--jobs 50 --workers 1 3'
# make bench-plot    throughput against volume size and workers, as a picture
# make lint docs man genconfig clean
#
# PYTHON=python3.13 chooses another interpreter; pip's own PIP_* variables are honoured.

PYTHON ?= python3
BIN := .venv/bin

# .venv is a link to an environment of this place and this Python: the scripts in an environment
# hold its absolute path, so one in a tree that was moved or copied is of no use.
HERE := $(shell $(PYTHON) -c 'import os, sys, zlib; path = os.fsencode(os.getcwd()); \
    print("py%d.%d-%08x" % (*sys.version_info[:2], zlib.crc32(path)))' 2>/dev/null)
ENV := .venvs/$(HERE)
FOR_DEMO := .venv/.$(HERE).demo
FOR_STORES := .venv/.$(HERE).stores
FOR_SERVE := .venv/.$(HERE).serve
FOR_TEST := .venv/.$(HERE).test
FOR_BENCH := .venv/.$(HERE).bench
PLUGINS := plugins/sftp plugins/gcs
PIP := PIP_USE_PEP517=1 $(ENV)/bin/python -m pip --disable-pip-version-check install --quiet
PUT_IN_PLACE = ln -sfnT $(ENV) .venv.new && mv -T .venv.new .venv
# Of tests. One more than processors, because half of the time a test waits for a server; at most 4.
PROCESSES ?= $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$((n < 3 ? n + 1 : 4)))
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

SECONDS ?= 60

.PHONY: demo demo-stores serve test test-long fuzz coverage mutants bench bench-plot bench-service lint docs man genconfig system-deps check-python clean

demo: $(FOR_DEMO)
	@$(BIN)/python tools/demo.py

demo-stores: $(FOR_STORES)
	@$(BIN)/python tools/demo_stores.py

serve: $(FOR_SERVE)
	@$(BIN)/python tools/serve.py

test: lint
	@$(PYTEST)

test-long: $(FOR_TEST)
	@$(PYTEST) -m long --timeout 3600

fuzz: $(FOR_TEST)
	@$(BIN)/python -m tests.trust.hostile.fuzz --seconds $(SECONDS) $(PARSERS)

# By each process of a test, wherever it works; what killed ones did is lost.
coverage: export COVERAGE_FILE = $(CURDIR)/.coverage/data
coverage: $(FOR_TEST)
	@rm -rf .coverage && mkdir .coverage
	@$(BIN)/python -m coverage run -m pytest -q tests/unit tests/conformance tests/formats \
	    tests/functional tests/trust $(COVERAGE)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

mutants: $(FOR_TEST)
	@$(BIN)/python -m tools.mutants $(MUTANTS)

bench: $(FOR_BENCH)
	@$(BIN)/python -m benchmarks.volumes $(BENCH)

bench-plot: $(FOR_BENCH)
	@mkdir -p doc/build
	@$(BIN)/python -m benchmarks.volumes.growth --plot doc/build/throughput.png $(BENCH)

bench-service: $(FOR_TEST)
	@$(BIN)/python -m benchmarks.service $(BENCH)

lint: $(FOR_TEST)
	@$(BIN)/ruff check
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/mypy

genconfig: $(FOR_TEST)
	@$(BIN)/oslo-config-generator --config-file etc/backup_framework/config-generator.conf
	@$(BIN)/oslopolicy-sample-generator --namespace backup_framework \
	    --output-file etc/backup_framework/policy.yaml.sample

docs: $(FOR_TEST)
	@$(BIN)/sphinx-build -W --keep-going -q -b html doc/source doc/build/html
	@echo doc/build/html/index.html

man: $(FOR_TEST)
	@$(BIN)/sphinx-build -W --keep-going -q -b man doc/source doc/build/man

# Made aside, under its final name because scripts hold it; .venv is put in place, by a rename, when
# all is installed. What an interrupted make left is removed. pip runs again when setup.cfg changes.
$(ENV)/.made:
	@$(MAKE) --no-print-directory check-python
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@touch $@

# Levels: the package alone, its plugins with emulators, the service, what the tests need; what
# draws pictures.
$(FOR_DEMO): setup.cfg $(ENV)/.made
	@echo 'Installing backup_framework into .venv' >&2
	@$(PIP) --editable .
	@$(PUT_IN_PLACE)
	@touch $@

$(FOR_STORES): setup.cfg $(PLUGINS:=/setup.cfg) $(ENV)/.made
	@echo 'Installing backup_framework, its plugins and an emulator into .venv' >&2
	@$(PIP) --editable . --editable './plugins/sftp' --editable './plugins/gcs[emulators]'
	@$(PUT_IN_PLACE)
	@touch $(FOR_DEMO) $@

$(FOR_SERVE): setup.cfg $(ENV)/.made
	@echo 'Installing backup_framework and what the service needs into .venv' >&2
	@$(PIP) --editable '.[service,client]'
	@$(PUT_IN_PLACE)
	@touch $(FOR_DEMO) $@

$(FOR_TEST): setup.cfg $(PLUGINS:=/setup.cfg) $(ENV)/.made
	@echo 'Installing backup_framework, its plugins and what the tests need into .venv' >&2
	@$(PIP) --editable '.[test]' $(PLUGINS:%=--editable './%[test]')
	@$(PUT_IN_PLACE)
	@touch $(FOR_DEMO) $(FOR_STORES) $(FOR_SERVE) $@

$(FOR_BENCH): setup.cfg $(ENV)/.made
	@echo 'Installing backup_framework and what the benchmarks need into .venv' >&2
	@$(PIP) --editable '.[bench]'
	@$(PUT_IN_PLACE)
	@touch $(FOR_DEMO) $@

check-python:
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import venv, ensurepip, sqlite3, ssl' \
	    2>/dev/null || { \
	    echo '$(PYTHON) is missing, or cannot make environments. On Debian, as root:' >&2; \
	    echo '    apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'Python 3.11 or newer is needed; this is' "$$($(PYTHON) --version)." >&2; \
	    echo 'Name another one: make PYTHON=python3.13' >&2; exit 1; }

# Only what is missing is installed; RUNLEVEL=1 keeps the services of the packages from starting.
system-deps:
	@wanted=$$(sed 's/#.*//' bindep.txt); missing=; \
	command -v apt-get >/dev/null || { \
	    echo "No apt-get here; the tests also use:" $$wanted >&2; exit 1; }; \
	for package in $$wanted; do \
	    dpkg-query --show --showformat '$${db:Status-Status}\n' $$package 2>/dev/null \
	        | grep -qx installed || missing="$$missing $$package"; \
	done; \
	[ -n "$$missing" ] || { echo 'All packages of bindep.txt are installed.'; exit 0; }; \
	root=; [ "$$(id -u)" = 0 ] || root=sudo; \
	[ -z "$$root" ] || command -v sudo >/dev/null || { \
	    echo "As root: apt-get install$$missing" >&2; exit 1; }; \
	run="$$root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get"; \
	$$run update -q && $$run install -y -q --no-install-recommends $$missing

clean:
	rm -rf .venv .venvs doc/build .*_cache .coverage .hypothesis __pycache__
	rm -rf $(foreach place,. $(PLUGINS),$(place)/build $(place)/dist $(place)/*.egg-info)
	find backup_framework benchmarks doc plugins tests tools -name __pycache__ -prune -exec rm -rf {} +
