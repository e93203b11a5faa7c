# Every target does its own set-up: a fresh machine needs Python (3.11 or newer) with its venv module, nothing else.
PYTHON ?=
BIN := .venv/bin
.DEFAULT_GOAL := help
# The tests start the service a hundred times, and a start without bytecode costs twice as much.
unexport PYTHONDONTWRITEBYTECODE

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## virtual environment in .venv with everything pinned
	@PYTHON="$(PYTHON)" ./setup-environment dev

run: ## self-contained demo: runs the service and a test receiver (make run ARGS=--once verifies the results and exits)
	@PYTHON="$(PYTHON)" ./setup-environment run
	@$(BIN)/mta demo $(ARGS)

test: setup ## all tests, against a real PostgreSQL
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: setup ## style, types, import contracts, instructions of the hot functions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell ./mta ./policy ./bounce ./config ./docs ./bench *.md Makefile Dockerfile
	$(BIN)/python -m bench.guard

nightly: setup ## the long scenarios, the crash tests with 50 seeds each, the peers with 10,000 messages
	CRASH_SEEDS=50 PEER_MESSAGES=10000 VISIBILITY_EXAMPLES=10000 FOOTER_EXAMPLES=2000 $(BIN)/python -m pytest -m "nightly or crash or peer" --timeout 3600 $(ARGS)

reliability: setup ## kills, power cuts, cut databases, clock steps, with a digest (SEED=1 RUNS=n of each; ARGS="--only kill_worker=5")
	$(BIN)/python -m tests.faults.reliability --seed $(or $(SEED),1) $(if $(RUNS),--runs $(RUNS)) $(ARGS)

bench: setup ## throughput and CPU per message, compared with Postfix + OpenDKIM if installed; the policy chain; lookups; many sources
	$(BIN)/python -m bench.run $(ARGS)
	$(BIN)/python -m bench.micro_policy
	$(BIN)/python -m bench.micro_lookups
	$(BIN)/python -m bench.micro_egress

bench-peers: setup ## beside Postfix, Postfix + OpenDKIM, Exim, OpenSMTPD, Haraka, as far as installed: bench/peers.json and .html (root)
	$(BIN)/python -m bench.peers $(ARGS)

bench-guard: setup ## instructions of the hot functions, if valgrind is installed; more than 5 % above bench/guard.json fails (ARGS=--write)
	$(BIN)/python -m bench.guard $(ARGS)

bench-web: setup ## one-click unsubscriptions, messages over HTTP, pages with a million messages (ARGS="--only one_click")
	$(BIN)/python -m bench.web $(ARGS)

bench-bounces: setup ## how well returned mail is understood (SISIMAI_CORPUS=folder), with every miss
	$(BIN)/python -m bench.bounces $(ARGS)

fuzz: setup ## the fuzz tests, for longer
	FUZZ_EXAMPLES=20000 $(BIN)/python -m pytest tests/fuzz --timeout 3600 $(ARGS)

peers: .peers/ready ## other MTAs, scanners and a browser from Debian packages, unpacked under .peers; nothing on the system changes

.peers/ready: tests/peers/packages.txt tests/peers/install
	tests/peers/install

docs: setup ## write what is generated: docs/config.md, docs/mta.1, docs/conformance.md
	$(BIN)/mta config docs > docs/config.md
	$(BIN)/mta man > docs/mta.1
	$(BIN)/python -m tests.conformance.document

lock: setup ## pin the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra embedded --universal --generate-hashes --no-emit-index-url --no-header -p 3.11 -q -o requirements.lock
	uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-emit-index-url --no-header -p 3.11 -q -c requirements.lock -o requirements-dev.lock

.PHONY: help docs setup run test check nightly reliability bench bench-web bench-peers bench-bounces fuzz peers lock bench-guard
