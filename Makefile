# What there is to do, and what each thing needs. `make` lists it.

SHELL := /bin/sh
CARGO ?= cargo
DEPS := $(CURDIR)/.deps
export STOCKBENCH_MYSQLD ?= $(DEPS)/mysql/mysqld
export STOCKBENCH_DEPS ?= $(DEPS)

.PHONY: help build check test bench catalogue explore-matrix fuzz chaos soak clusters versions pages ci deps deps-versions schema

help: ## List these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 18

build: ## Build the release binary, target/release/stockbench
	$(CARGO) build --release

check: ## Formatting and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

test: deps ## Install what the tests need, then run every test on real servers
	STOCKBENCH_REQUIRE_SERVERS=1 $(CARGO) test

bench: deps ## Against pgbench and sysbench, the strategies, the hot SKU, seeding, audits, side by side, as Markdown
	@$(CARGO) build --release
	@sh scripts/bench.sh
	@sh scripts/bench_audit.sh

catalogue: deps ## Run every strategy and scenario on every database, keep the table in docs/catalogue.md
	sh scripts/catalogue.sh

explore-matrix: deps ## Explore every strategy with two clients at every level, keep the table in docs/explore-matrix.md
	sh scripts/explore_matrix.sh

fuzz: ## Give more than 10,000 mangled inputs to the readers and to the binary, from a seed of its own (SEED=N)
	STOCKBENCH_MANGLED=1000 STOCKBENCH_MANGLED_SEED=$(or $(SEED),$(shell date +%Y%m%d)) \
		$(CARGO) test --test it mangled:: -- --nocapture --test-threads=2

chaos: deps ## Kill the servers again and again under load and account for every unit, as Markdown
	@$(CARGO) build --release
	@sh scripts/chaos.sh

soak: deps ## Half an hour of mixed faults on three servers: what grows, what is left, as Markdown
	@$(CARGO) build --release
	@python3 scripts/soak.py

clusters: deps ## Run every strategy on Galera and Group Replication with clients on all nodes, as Markdown
	@$(CARGO) build --release
	@sh scripts/clusters.sh

versions: deps deps-versions ## Run strategies, scenarios, explorations and audits on every version, keep docs/versions.md (SERVERS=postgres@18 for some)
	@python3 scripts/versions.py $(SERVERS)

pages: ## Open pages in a headless browser without a network, light, dark, on a phone, as Markdown
	@$(CARGO) build --release
	@python3 scripts/pages.py

ci: deps check test ## What CI runs: formatting, lints, every test

deps: ## Install the servers that the tests start (Debian and root), MySQL into .deps
	@sh scripts/deps.sh $(DEPS)

deps-versions: ## Bring further versions of PostgreSQL and MariaDB into .deps, for `make versions`
	@sh scripts/deps_versions.sh $(DEPS)

schema: ## Write the JSON Schemas in schema/ anew from the code
	STOCKBENCH_WRITE_SCHEMA=1 $(CARGO) test --test it the_schema
