.DEFAULT_GOAL := help
.PHONY: help install install-heic install-demo install-dev install-bench up down ps demo test test-unit \
        test-contract test-integration test-e2e test-fault test-minio test-redis test-rabbitmq \
        test-compose test-hosts simulate fuzz chaos flood bench bench-gpu figures check audit \
        schemas formats clean

# What of the shell would send packages elsewhere, or make Python or pytest another.
unexport $(filter-out PYTHONDONTWRITEBYTECODE PYTHON_IMAGE,$(filter PYTHON% PYTEST_%,$(.VARIABLES)))
unexport PIP_CONSTRAINT PIP_DRY_RUN PIP_NO_DEPS PIP_PREFIX PIP_PYTHON PIP_REQUIREMENT \
  PIP_REQUIRE_VIRTUALENV PIP_ROOT PIP_TARGET PIP_USER

# The first Python that is new enough; PYTHON=... overrides it.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3 python3.12 python3.13; do \
  $$p -E -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
INSTALL := $(or $(PYTHON),python3) tools/install.py
RUN := .venv/bin/python
TIERS := unit contract integration e2e fault
# Fast answers first, then what takes longest, so that no process is left with it at the end.
IN_TURN := unit fault e2e integration contract
# One more than the cores of the machine in mind: tests of a stack wait for nearly half their time.
AT_ONCE := 3
MODE ?= auto
ARGS ?=
SECONDS ?= 60
MINUTES ?= 10
SEEDS ?= 10000
SEED ?= $(shell date -u +%Y%m%d)
DOCKER_ANSWERS = [ -f docker-compose.yml ] && docker info >/dev/null 2>&1 \
  && docker compose version >/dev/null 2>&1

help: ## List the targets
	@awk -F ': .*## ' '/^[a-z0-9-]+:.*## /{printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Make .venv with what the product needs; PYTHON=... chooses the interpreter
	@$(INSTALL) base inference

install-heic: ## Add the decoder of HEIC photos, which is under the LGPL
	@$(INSTALL) base inference heic

install-demo:
	@$(INSTALL) base inference demo

install-dev:
	@$(INSTALL) base inference demo dev

install-bench:
	@$(INSTALL) base inference demo dev bench

up: install ## Start everything; MODE=local or MODE=docker forces where
	@mode=$(MODE) why="as MODE says"; \
	if [ "$$mode" = auto ] && $(DOCKER_ANSWERS); then \
	  mode=docker why="a Docker engine answers and docker compose is there"; \
	elif [ "$$mode" = auto ]; then \
	  mode=local why="no Docker engine with docker compose and a docker-compose.yml"; fi; \
	echo "Starting in mode $$mode: $$why." >&2; \
	case "$$mode" in \
	  docker) .venv/bin/headrace --profile docker up ;; \
	  local) .venv/bin/headrace up ;; \
	  *) echo "MODE is local or docker." >&2; exit 2 ;; esac

down: install ## Stop everything; data and queues stay
	@if [ "$(MODE)" != local ] && $(DOCKER_ANSWERS); then .venv/bin/headrace --profile docker down; fi
	@if [ "$(MODE)" != docker ]; then .venv/bin/headrace down; fi

ps: install ## Show the processes
	@if [ "$(MODE)" != local ] && $(DOCKER_ANSWERS); then .venv/bin/headrace --profile docker ps; fi
	@if [ "$(MODE)" != docker ]; then .venv/bin/headrace ps; fi

demo: install-demo ## Classify real photos, start to end; KEEP=1 leaves the stack up
	@KEEP="$(KEEP)" $(RUN) -m examples.demo

test: install-dev ## Run all tests, unit tests first; ARGS=... goes to pytest
	@$(RUN) -m pytest -n $(AT_ONCE) --dist loadfile --no-loadscope-reorder $(IN_TURN:%=tests/%) $(ARGS)

test-unit: ## Run the tests of one tier: test-unit, -contract, -integration, -e2e
$(filter-out test-fault,$(TIERS:%=test-%)): test-%: install-dev
	@$(RUN) -m pytest tests/$* $(ARGS)

MINIO_SUITE := store store_listing store_errors foreign_store sessions store_tls
test-minio: install-dev ## Hold what a store must do against MinIO, built from source with Go
	@TEST_STORE=minio $(RUN) -m pytest --timeout 1200 $(MINIO_SUITE:%=tests/contract/test_%.py) $(ARGS)

REDIS_SUITE := ledger ledger_model ledger_rescue ledger_stages ledger_versions lost_runs \
  feed_and_rescue leader lanes quarantine simulated_valkey dead_letters_cli broker_users \
  network_staging deserted_hosts broker_tls planted_stage
test-redis: install-dev ## Hold what the broker must do against the Redis installed here
	@TEST_BROKER=redis $(RUN) -m pytest $(REDIS_SUITE:%=tests/integration/test_%.py) $(ARGS)

RABBITMQ_SUITE := $(addprefix tests/integration/,test_queues.py test_quarantine.py test_lanes.py) \
  tests/rabbitmq
test-rabbitmq: install-dev ## Hold RabbitMQ as the broker, with quorum queues, the one installed here
	@TEST_BROKER=rabbitmq $(RUN) -m pytest $(RABBITMQ_SUITE) $(ARGS)

FAULT_LINES := .fault-lines.jsonl
FULL_FAULTS = FAULTS=full FAULT_SEED=$(SEED)
FAULT_VERSION = $$(git describe --always --dirty 2>/dev/null)

test-fault: install-dev ## Try all of every fault and write docs/FAULTS.md; AGAIN="tests ..." for some
	@$(if $(AGAIN),,rm -f $(FAULT_LINES))
	@failed=0; $(FULL_FAULTS) FAULT_LINES=$(CURDIR)/$(FAULT_LINES) FAULT_VERSION=$(FAULT_VERSION) \
	  $(RUN) -m pytest -n 2 --dist loadfile $(or $(AGAIN),tests/fault) --timeout=1800 $(ARGS) \
	  || failed=$$?; \
	$(FULL_FAULTS) $(RUN) -m tests.support.injection.table $(FAULT_LINES) > docs/FAULTS.md; exit $$failed

test-compose: install-dev ## Prove docker-compose.yml by a job in containers; skipped without an engine
	@$(RUN) -m pytest -s tests/e2e/compose/proof.py $(ARGS)

test-hosts: install-dev ## Prove a job over two hosts, in network namespaces; needs root
	@$(RUN) -m pytest -s tests/e2e/hosts/proof.py $(ARGS)

simulate: install-dev ## Play SEEDS=10000 seeds of the simulation; SEED=... tells one seed's story
	@$(RUN) -m tests.simulation $(if $(filter command line environment,$(origin SEED)),--seed $(SEED),--seeds $(SEEDS))

fuzz: install-dev ## Search for messages that break their inspection, for SECONDS=60
	@FUZZ_SECONDS=$(SECONDS) $(RUN) -m pytest tests/unit/workers/quarantine/test_inspection_fuzz.py \
	  tests/unit/workers/quarantine/test_guided_fuzz.py --timeout $$(($(SECONDS) + 300)) $(ARGS)

chaos: install-dev ## Run several jobs under random faults for MINUTES=10; SEED=... draws again
	@$(RUN) -m tests.support.injection.chaos --minutes $(MINUTES) --seed $(SEED)

flood: install-dev ## Send MESSAGES=1000000 malformed messages to one worker, and measure
	@FLOOD_MESSAGES=$(or $(MESSAGES),1000000) $(RUN) -m pytest --timeout 7200 -s -k bounded \
	  tests/integration/test_flood.py $(ARGS)

PEERS := .venv-peers/.made-from-$(shell sha256sum requirements/peers.txt | cut -c1-16)
$(PEERS):
	@rm -rf .venv-peers && $(or $(PYTHON),python3) -m venv .venv-peers
	@.venv-peers/bin/pip install --quiet -r requirements/peers.txt && touch $@

bench: install-bench $(PEERS) ## Measure Headrace beside Ray Data, Daft and a loop by hand; ARGS=...
	@$(RUN) -m benchmarks $(ARGS)

figures: install-bench ## Measure Headrace alone; ARGS="first_row listing" for some figures only
	@$(RUN) -m benchmarks.figures $(ARGS)

bench-gpu: install-bench ## Measure the whole system on a GPU beside its limits; ARGS=...
	@$(RUN) -m benchmarks.gpu $(ARGS)

check: install-dev ## Lint, format, types, import contracts, schemas, formats, known holes
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@.venv/bin/lint-imports
	@$(RUN) -m tools.schemas --check
	@$(RUN) -m tools.formats --check
	@$(RUN) -m tools.holes

audit: install-dev ## Ask the vulnerability database about every pinned package
	@$(RUN) -m tools.audit

schemas: install ## Write docs/schemas and the table of docs/PIPELINES.md from the code
	@$(RUN) -m tools.schemas

formats: install-dev ## Write the table of docs/FORMATS.md from files of each format
	@$(RUN) -m tools.formats

clean: ## Remove .venv and caches; stops a running stack and keeps its data
	@if [ -x .venv/bin/headrace ]; then .venv/bin/headrace down; fi
	@rm -rf .venv .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
	  build *.egg-info demo-results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
