# Every verb, with a sentence: run make. Logic is Python's; each fact has one home (see README.md).
.DEFAULT_GOAL := help
.PHONY: help setup archive models serve stop status logs token doctor audit bench loadtest soak fuzz faults test lint clean
SHELL := /bin/sh

export PROFILE CONCURRENCY RATE ARRIVALS SLO_P99_MS DURATION ROUNDS SEED HOST BASELINE TOKEN TOKEN_FILE RESULTS
export BATCHES LENGTHS BENCH_SECONDS OUT FUZZ_REQUESTS FAULT_SECONDS
# These say what one build is of. A shell may export such names for reasons of its own: they count on make's command line.
OWN_MODEL := MODEL NAME TASK ARCH LABELS POOLING MAX_LENGTH EXAMPLE EXPECT
$(foreach name,$(OWN_MODEL),$(if $(filter environment%,$(origin $(name))),$(eval unexport $(name))))
export MODELS VARIANTS DEVICE WEIGHTS FOREGROUND FOLLOW CONFIG RUN_DIR MODEL_STORE MODELS_FILE STORE_KEY OSV_URL
# <MODEL>_WEIGHTS: make passes on what its command line sets. These are the names, so that a wrong one can be refused.
export WEIGHTS_GIVEN := $(foreach name,$(filter %_WEIGHTS,$(.VARIABLES)),$(if $(filter command,$(origin $(name))),$(name)))

BOOTSTRAP := $(firstword $(foreach name,python3 python3.12 python3.11 python3.10,$(shell \
  $(name) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $(name))))

# PYTHON=... uses that interpreter and what it has, and installs nothing; else .venv is set up by the first verb.
ifdef PYTHON
PY := $(PYTHON)
READY :=
EXTRAS :=
ALL_ENGINES :=
ALL_EXTRAS :=
AUDIT :=
DOCTOR := $(PYTHON) -m serving.doctor
else
PY := .venv/bin/python
READY := .venv/.ready
# Engines are extras; export/catalog.py says which variant needs which. Asked with the standard library alone.
# Without VARIANTS, make archive builds what models.toml chooses; .venv's Python reads that file where there is one.
ENGINES_OF = $(addprefix .venv/.,$(shell MODELS_FILE="$(MODELS_FILE)" $(1) -m export.extras $(2)))
CHOSEN := $(if $(VARIANTS),,$(filter archive,$(MAKECMDGOALS)))
EXTRAS := $(if $(VARIANTS),$(call ENGINES_OF,$(BOOTSTRAP),"$(VARIANTS)"))$(if $(CHOSEN),$(call \
  ENGINES_OF,$(if $(wildcard $(READY)),$(PY),$(BOOTSTRAP)),--chosen "$(MODELS)"))
AUDIT := .venv/.audit
SIGNED = $(if $(STORE_KEY),.venv/.signed)
ALL_ENGINES := $(addprefix .venv/.,$(shell $(BOOTSTRAP) -m export.extras))
ALL_EXTRAS := $(ALL_ENGINES) $(AUDIT) .venv/.signed
# Before setup, on whatever Python there is: it needs the standard library alone.
DOCTOR = $(if $(wildcard $(READY)),$(PY) -m serving.doctor,$(or $(BOOTSTRAP),python3) -m serving.doctor --before-setup)
endif
# Of pip's output: the large downloads, as they start, and the installation.
SHOWN := /Downloading .*([0-9][0-9]\.[0-9] MB|[0-9]{3} MB|GB)/ || /^Installing collected/ || /^ERROR/ \
  {print "  " substr($$0, 1, 100); fflush()}

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip checks each file against hashes.txt and takes no source, whose build would run code that nothing has checked. The pip
# of a new environment may be too old to read hashes from constraints, so pip itself comes first.
PIP := .venv/bin/python -m pip install --disable-pip-version-check --no-input --require-hashes
PINNED := $(PIP) --only-binary :all: -c hashes.txt

setup: $(READY) ## Make .venv with the exact versions and bytes of hashes.txt (the other verbs do it themselves)

.venv/.ready: pyproject.toml hashes.txt
	@test -n "$(BOOTSTRAP)" || { echo "No Python 3.10, 3.11 or 3.12 found on PATH; install one, or name it: PYTHON=/path/to/python3 make" >&2; exit 1; }
	@echo "Setting up .venv with $(BOOTSTRAP): about 6 GB, most of it torch"
	@$(BOOTSTRAP) -m venv --clear .venv || { echo "$(BOOTSTRAP) cannot make a virtual environment; on Debian and Ubuntu, install the package python3-venv." >&2; exit 1; }
	@awk '/^pip==/, !/\\$$/' hashes.txt > .venv/pip.txt
	@.venv/bin/python deploy/requirements.py test > .venv/requirements.txt
	@{ { $(PIP) -r .venv/pip.txt && $(PINNED) -r .venv/requirements.txt; } 2>&1; \
	  echo $$? > .venv/pip.status; } | tee .venv/pip.log | awk '$(SHOWN)'; \
	if [ "$$(cat .venv/pip.status)" != 0 ]; then tail -n 25 .venv/pip.log >&2; exit 1; fi
	@touch $@

.venv/.%: .venv/.ready
	@echo "Installing the extra $*"
	@.venv/bin/python deploy/requirements.py $* > .venv/$*.txt
	@$(PINNED) -q -r .venv/$*.txt
	@touch $@

archive: $(READY) $(EXTRAS) ## Build what is out of date in model_store/ (MODEL=/your/checkpoint, MODELS=, VARIANTS=, DEVICE=)
	@$(PY) -m export

models: $(READY) ## Every model with its task, architecture and weights, and which variants fit it (DEVICE=)
	@$(PY) -m export.list_models

serve: $(READY) $(SIGNED) ## Start TorchServe with the store's archives and return when all are warm (FOREGROUND=1 stays)
	@$(PY) -m serving serve

stop: $(READY) ## Stop TorchServe and check that it is gone
	@$(PY) -m serving stop

status: $(READY) ## A line per served archive; exit status 0 when all answer
	@$(PY) -m serving status

logs: $(READY) ## The last lines of the server's and the workers' logs (FOLLOW=1 stays)
	@$(PY) -m serving logs

token: $(READY) ## Print the inference token (with make -s, nothing else)
	@$(PY) -m serving token

doctor: ## What would stop make serve on this machine, a line per check, with the fix (before setup too)
	@$(DOCTOR)

audit: $(READY) $(AUDIT) ## Published advisories on what is installed, TorchServe's jar included (OSV_URL= names a mirror)
	@$(PY) -m serving.audit

bench: $(READY) $(if $(VARIANTS),$(EXTRAS),$(ALL_ENGINES)) ## Measure every variant in process, beside its parity (MODELS=, VARIANTS=, BATCHES=1,8,32, LENGTHS=)
	@$(PY) -m bench

loadtest: $(READY) ## Measure served latency, one archive at a time, and report (RATE=, SLO_P99_MS=, PROFILE=, BASELINE=)
	@$(PY) -m loadtest

soak: $(READY) ## Good and bad requests to all models of one server for long, and what grows (DURATION=1800, RATE=)
	@$(PY) -m loadtest.soak

fuzz: $(READY) ## Send hostile requests with good ones among them to a server of its own (FUZZ_REQUESTS=20000, SEED=)
	@$(PY) -m tests.trust.fuzz

test: $(READY) $(ALL_EXTRAS) ## Run the whole test suite, real TorchServe included
	@$(PY) -m pytest

# The figures that docs/reliability.md shows, each of them again.
FAULTS := $(or $(OUT),loadtest/results/faults.json)
faults: $(READY) $(ALL_EXTRAS) ## The fault tests in full, in two hours or so; writes their figures (OUT=, FAULT_SECONDS=3600)
	@rm -f "$(FAULTS)"
	@TRUST=full FIGURES="$(FAULTS)" $(PY) -m pytest -q tests/trust/test_*_faults.py tests/trust/test_environments.py \
	  tests/trust/test_fault_run.py

lint: $(READY) ## Check style and imports with ruff
	@$(PY) -m ruff check .

clean: $(READY) ## Stop the server; remove archives built here, caches and logs (keeps .venv)
	@$(PY) -m serving clean
	@rm -rf .cache
