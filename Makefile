# The verbs. `make` lists them. The Python modules that they call do the work.
.DEFAULT_GOAL := help
.PHONY: help setup archive models serve stop restart status rollout rollback scale logs token ui openapi triton doctor audit bench choose compare loadtest soak fuzz faults test coverage mutants lint docs clean
SHELL := /bin/sh

# The variables of each verb. Shells export such names for other purposes (HOST, OUT, NAME), so make reads them from its
# command line. From the environment make reads TSI_<NAME> only. It does not pass <NAME> on, and prints a line that says so.
# tsi/table.py has the verbs and their variables for the command tsi; tests/tsi/test_table.py compares it with this file.
PLACE := CONFIG RUN_DIR MODEL_STORE MODELS_FILE
CHOICE := MODELS VARIANTS DEVICE WEIGHTS MODELS_FILE
CHECKPOINT := MODEL NAME TASK ARCH LABELS POOLING MAX_LENGTH EXAMPLE EXPECT HANDLER
READ_BY_archive := $(CHOICE) $(CHECKPOINT) VERSION MODEL_STORE RESULTS_JSON
READ_BY_models := DEVICE MODELS_FILE MODEL_STORE
READ_BY_serve := $(PLACE) MODELS VARIANTS WORKERS FOREGROUND UI UI_PORT REPLICAS TLS TLS_CERT TLS_KEY BIND ENGINE
READ_BY_restart := $(PLACE) MODELS VARIANTS WORKERS
READ_BY_stop := $(PLACE)
READ_BY_status := $(PLACE)
READ_BY_rollout := $(PLACE) MODEL VERSION MAX_DIFFERENT MAX_P99_RATIO MAX_P99_MS MAX_ERRORS REQUESTS WATCH CANARY \
  SHADOW SHADOW_PERCENT
READ_BY_rollback := $(PLACE) MODEL
READ_BY_scale := $(PLACE) MODEL WORKERS THREADS BATCH_SIZE BATCH_DELAY_MS
READ_BY_logs := $(PLACE) FOLLOW
READ_BY_token := $(PLACE)
READ_BY_ui := $(PLACE) UI_PORT
READ_BY_openapi := $(PLACE) MODELS VARIANTS OUT
READ_BY_triton := MODEL_STORE MODELS_FILE MODELS VARIANTS OUT ENVIRONMENT
READ_BY_doctor := $(PLACE) REPLICAS
READ_BY_clean := $(PLACE)
READ_BY_audit := OSV_URL
READ_BY_bench := $(CHOICE) BATCHES LENGTHS BENCH_SECONDS BENCH_STORE OUT
READ_BY_choose := $(PLACE) $(CHOICE) $(CHECKPOINT) OBJECTIVE SLO_P99_MS RATE MIN_ACCURACY MIN_COSINE BUDGET HOURLY_COST WORKERS \
  THREADS BATCHES TRIALS ROUNDS DURATION SEED RESULTS CHOOSE_STORE
READ_BY_compare := $(PLACE) MODELS PEERS CLIENTS DURATION ROUNDS DEVICE WEIGHTS OUT COMPARE_STORE
READ_BY_loadtest := $(PLACE) $(CHOICE) HOST TOKEN TOKEN_FILE PROFILE CONCURRENCY RATE ARRIVALS TRACE SLO_P99_MS DURATION \
  ROUNDS SEED PROCESSES PROTOCOL BASELINE RESULTS
READ_BY_soak := $(PLACE) MODELS VARIANTS DURATION RATE SEED OUT
READ_BY_fuzz := VARIANTS FUZZ_REQUESTS SEED OUT
READ_BY_test := ROWS TRUST FIGURES FAULT_SECONDS SEED
READ_BY_faults := ROWS FAULT_SECONDS SEED OUT
VERBS := $(patsubst READ_BY_%,%,$(filter READ_BY_%,$(.VARIABLES)))
NAMES := $(sort $(foreach verb,$(VERBS),$(READ_BY_$(verb))))
# make also reads these from the environment under their plain names. Shells rarely set them for other purposes. If make
# ignored STORE_KEY there, it would serve unsigned archives.
EITHER := PYTHON STORE_KEY
given = $(filter-out undefined,$(origin $1))
by_shell = $(filter environment%,$(origin $1))
ASKED := $(filter $(MAKECMDGOALS),$(VERBS))
IGNORED := $(foreach name,$(sort $(foreach verb,$(ASKED),$(READ_BY_$(verb)))),$(if $(call by_shell,$(name)),\
  $(if $(value $(name)),$(if $(call given,TSI_$(name)),,$(name)))))
$(foreach name,$(NAMES),$(if $(call by_shell,$(name)),$(eval override $(name) :=)$(eval unexport $(name))))
$(foreach name,$(NAMES) $(EITHER),$(if $(call given,TSI_$(name)),$(if $(filter command,$(origin $(name))),,\
  $(eval override $(name) := $$(value TSI_$(name)))$(eval export $(name)))))
UNKNOWN := $(filter-out $(NAMES:%=TSI_%) $(EITHER:%=TSI_%),$(filter TSI_%,$(.VARIABLES)))
unexport $(filter TSI_%,$(.VARIABLES))
note = $(if $(strip $2),$(shell echo '$1: $(strip $2)$3.' >&2))
$(call note,Not read from the environment,$(IGNORED),; write make $(firstword $(ASKED)) $(addsuffix =...,$(IGNORED)) or set \
  $(addprefix TSI_,$(IGNORED)))
$(call note,There is no such variable,$(UNKNOWN))
# make passes <MODEL>_WEIGHTS on by itself. WEIGHTS_GIVEN lists those on the command line, so that a wrong name is refused.
export WEIGHTS_GIVEN := $(foreach name,$(filter %_WEIGHTS,$(.VARIABLES)),$(if $(filter command,$(origin $(name))),$(name)))

BOOTSTRAP := $(firstword $(foreach name,python3 python3.12 python3.11 python3.10,$(shell \
  $(name) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $(name))))

# With PYTHON=..., make uses that interpreter with its packages and installs nothing. Otherwise the first verb sets up .venv.
ifdef PYTHON
PY := $(PYTHON)
READY :=
EXTRAS :=
ALL_ENGINES :=
EVERYTHING :=
AUDIT :=
OPTUNA :=
MKDOCS :=
COVERAGE :=
MUTATION :=
GRPC :=
TRACING :=
DOCTOR := $(PYTHON) -m serving.doctor
else
PY := .venv/bin/python
READY := .venv/.ready
# Engines are extras; export/catalog.py says which variant needs which. export.extras needs the standard library alone.
# Without VARIANTS, make archive builds the variants that models.toml chooses. The Python of .venv reads that file, if it
# exists.
ENGINES_OF = $(addprefix .venv/.,$(shell MODELS_FILE="$(MODELS_FILE)" $(1) -m export.extras $(2)))
CHOSEN := $(if $(VARIANTS),,$(filter archive,$(MAKECMDGOALS)))
EXTRAS := $(if $(VARIANTS),$(call ENGINES_OF,$(BOOTSTRAP),"$(VARIANTS)"))$(if $(CHOSEN),$(call \
  ENGINES_OF,$(if $(wildcard $(READY)),$(PY),$(BOOTSTRAP)),--chosen "$(MODELS)"))
AUDIT := .venv/.audit
OPTUNA := .venv/.choose
MKDOCS := .venv/.docs
COVERAGE := .venv/.coverage
MUTATION := .venv/.mutation
GRPC := .venv/.grpc
SIGNED = $(if $(STORE_KEY),.venv/.signed)
# ray takes 300 MB, so only ENGINE=ray and make test install it.
RAY = $(if $(filter ray,$(ENGINE)),.venv/.ray)
TRACING = $(if $(shell grep -sE '^[[:space:]]*trace_endpoint[[:space:]]*=[[:space:]]*[^[:space:]]' "$(or $(CONFIG),config.properties)"),.venv/.tracing)
ALL_ENGINES := $(addprefix .venv/.,$(shell $(BOOTSTRAP) -m export.extras))
ALL_EXTRAS := $(ALL_ENGINES) $(AUDIT) $(OPTUNA) $(MKDOCS) $(GRPC) .venv/.signed .venv/.tracing .venv/.ray
EVERYTHING := .venv/.extras
# Before setup the doctor runs on any Python, since it needs the standard library alone.
DOCTOR = $(if $(wildcard $(READY)),$(PY) -m serving.doctor,$(or $(BOOTSTRAP),python3) -m serving.doctor --before-setup)
endif
# The lines of pip's output that make shows: the start of each large download, the installation and errors.
SHOWN := /Downloading .*([0-9][0-9]\.[0-9] MB|[0-9]{3} MB|GB)/ || /^Installing collected/ || /^ERROR/ \
  {print "  " substr($$0, 1, 100); fflush()}

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip checks each file against hashes.txt. It installs no source packages, since their builds would run unchecked code. The
# pip of a new environment may be too old to read hashes from constraints, so make installs pip itself first.
PIP := .venv/bin/python -m pip install --disable-pip-version-check --no-input --require-hashes
PINNED := $(PIP) --only-binary :all: -c hashes.txt

setup: $(READY) ## Make .venv with the versions and digests of hashes.txt (the other verbs do it themselves)

.venv/.ready: pyproject.toml hashes.txt
	@test -n "$(BOOTSTRAP)" || { echo "No Python 3.10, 3.11 or 3.12 found on PATH; install one, or name it: make ... PYTHON=/path/to/python3" >&2; exit 1; }
	@test ! -L .venv || { echo ".venv is a link, and setting it up anew would empty the folder it points to; remove the link (rm .venv), then run make again." >&2; exit 1; }
	@echo "Setting up .venv with $(BOOTSTRAP): about 6 GB, most of it torch"
	@$(BOOTSTRAP) -m venv --clear .venv || { echo "$(BOOTSTRAP) cannot make a virtual environment; on Debian and Ubuntu, install the package python3-venv." >&2; exit 1; }
	@awk '/^pip==/, !/\\$$/' hashes.txt > .venv/pip.txt
	@.venv/bin/python deploy/requirements.py test > .venv/requirements.txt
	@{ { $(PIP) -r .venv/pip.txt && $(PINNED) -r .venv/requirements.txt; } 2>&1; \
	  echo $$? > .venv/pip.status; } | tee .venv/pip.log | awk '$(SHOWN)'; \
	if [ "$$(cat .venv/pip.status)" != 0 ]; then tail -n 25 .venv/pip.log >&2; exit 1; fi
	@touch $@

# One call of pip installs all extras, so it resolves their common packages once.
.venv/.extras: .venv/.ready
	@echo "Installing the extras $(ALL_EXTRAS:.venv/.%=%)"
	@.venv/bin/python deploy/requirements.py $(ALL_EXTRAS:.venv/.%=%) > .venv/extras.txt
	@$(PINNED) -q -r .venv/extras.txt
	@touch $(ALL_EXTRAS) $@

.venv/.%: .venv/.ready
	@echo "Installing the extra $*"
	@.venv/bin/python deploy/requirements.py $* > .venv/$*.txt
	@$(PINNED) -q -r .venv/$*.txt
	@touch $@

archive: $(READY) $(EXTRAS) ## Build the archives that are out of date in model_store/ (MODEL=/your/checkpoint, MODELS=, VARIANTS=, VERSION=, DEVICE=)
	@$(PY) -m export

models: $(READY) ## List every model with its task, architecture and weights, and the variants that fit it (DEVICE=)
	@$(PY) -m export.list_models

serve: $(READY) $(SIGNED) $(TRACING) $(RAY) ## Start TorchServe with the store's archives and return when all are warm (REPLICAS=3, TLS=1, BIND=, FOREGROUND=1, UI=1, ENGINE=ray)
	@$(PY) -m serving serve

stop: $(READY) ## Stop TorchServe and check that all its processes have ended
	@$(PY) -m serving stop

restart: $(READY) $(SIGNED) $(TRACING) ## Restart one replica after the other with the present archives and settings, without a pause
	@$(PY) -m serving restart

status: $(READY) ## Print a line per served archive; exit status 0 when all answer
	@$(PY) -m serving status

rollout: $(READY) $(SIGNED) ## Replace a served archive by another version, without a pause (MODEL=minilm-torchscript VERSION=2.0)
	@$(PY) -m rollout rollout

rollback: $(READY) $(SIGNED) ## Go back to the version that the last rollout replaced (MODEL=minilm-torchscript)
	@$(PY) -m rollout rollback

scale: $(READY) ## Change the workers, their threads or the batches of a served archive without a pause, and keep that (MODEL=minilm-torchscript WORKERS=2 THREADS=1)
	@$(PY) -m rollout scale

logs: $(READY) ## Print the last lines of the server's and the workers' logs (FOLLOW=1 prints new lines as they come)
	@$(PY) -m serving logs

token: $(READY) ## Print the inference token (with make -s, nothing else)
	@$(PY) -m serving token

ui: $(READY) ## Open a page to try the served models in a browser, until Ctrl-C (UI_PORT=8090)
	@$(PY) -m serving.ui

openapi: $(READY) ## Describe the HTTP API of the store's archives as OpenAPI 3.1 in a file (MODELS=, VARIANTS=, OUT=openapi.json)
	@$(PY) -m openapi

triton: $(READY) $(SIGNED) ## Write a model repository for NVIDIA's Triton of the store's archives (MODELS=, VARIANTS=, OUT=triton_repository)
	@$(PY) -m deploy.triton

doctor: ## Check this machine for faults that would stop make serve; a line per check, with the fix (runs before setup too)
	@$(DOCTOR)

audit: $(READY) $(AUDIT) ## Ask for published advisories on the installed packages and TorchServe's jar (OSV_URL= names a mirror)
	@$(PY) -m serving.audit

bench: $(READY) $(if $(VARIANTS),$(EXTRAS),$(ALL_ENGINES)) ## Measure every variant in process, with its parity (MODELS=, VARIANTS=, BATCHES=1,8,32, LENGTHS=)
	@$(PY) -m bench

choose: $(READY) $(OPTUNA) $(if $(VARIANTS),$(EXTRAS),$(ALL_ENGINES)) ## Search for the variant and settings to deploy, and record them (MODEL=a name or /your/checkpoint, SLO_P99_MS=, BUDGET=20m)
	@$(PY) -m choose

compare: $(READY) $(ALL_ENGINES) ## Measure this server beside TorchServe's, FastAPI, LitServe, BentoML, Ray Serve and MLServer (PEERS=, CLIENTS=)
	@$(PY) -m compare

loadtest: $(READY) $(if $(filter grpc,$(PROTOCOL)),$(GRPC)) ## Measure served latency, one archive at a time, and report (RATE=, SLO_P99_MS=, PROFILE=, BASELINE=)
	@$(PY) -m loadtest

soak: $(READY) ## Send good and bad requests to all models of one server for a long time; report growth of memory, files and logs (DURATION=1800, RATE=)
	@$(PY) -m loadtest.soak

fuzz: $(READY) ## Send hostile requests mixed with good ones to a separate server (FUZZ_REQUESTS=20000, SEED=)
	@$(PY) -m tests.trust.fuzz

# The tests start hundreds of processes. Without compiled files, each would compile the modules anew, in up to 0.4 s.
test: $(READY) $(EVERYTHING) ## Run the whole test suite, real TorchServe included, in three processes
	@PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n 3

faults: $(READY) $(EVERYTHING) ## Run all fault tests, in about two hours, and write their figures (OUT=, FAULT_SECONDS=3600)
	@$(PY) -m tests.trust.faults

coverage: $(READY) $(EVERYTHING) $(COVERAGE) ## Run the test suite and print the share of lines that it runs; fails below 95 %
	@rm -f .cache/coverage/data*
	@mkdir -p .cache/coverage
	@$(PY) -m coverage run -m pytest -n 3
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage report

mutants: $(READY) $(MUTATION) ## Change the functions that read requests and judge answers, and show the changes that no test finds
	@$(PY) -m tests.mutants

lint: $(READY) ## Check style, imports and docstrings with ruff, and types with mypy
	@$(PY) -m ruff check .
	@$(PY) -m mypy

docs: $(READY) $(MKDOCS) ## Build the documentation as a site in site/, which needs no network; fails for a dead link
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "Written: site/index.html"

clean: $(READY) ## Stop the server; remove archives built here, caches and logs (keeps .venv)
	@$(PY) -m serving clean
	@rm -rf .cache site mutants
