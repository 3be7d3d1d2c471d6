# `make help` lists the targets. Ports: PORT=4566 RECEIVER_PORT=4580 WATCH_PORT=4590

PYTHON ?= python3
ENV ?= dev

export PORT RECEIVER_PORT WATCH_PORT ONCE
# Tools that dev/setup.py installs into the checkout, besides the virtual environments.
export PATH := $(CURDIR)/.local/bin:$(PATH)
export SAM_CLI_TELEMETRY = 0

SAM = .local/sam/bin/sam
RELEASE = .local/sam/bin/python dev/release.py
RELEASE_OPTIONS = --env $(ENV) $(if $(CI),--ci) $(if $(FORCE),--force) $(if $(AT_ONCE),--at-once) $(if $(ROLE),--role $(ROLE))
# cargo-lambda finds zig through the Python beside it.
WITH_CARGO_LAMBDA = PATH="$(CURDIR)/.local/build/bin:$$PATH"

# Caches of 1 s instead of 10 s, because tests wait until a change takes effect everywhere.
define ON_A_STACK
@$(PYTHON) dev/setup.py stack sam contract gcal nextest clients
cargo build --locked --workspace --bins
@$(PYTHON) dev/stack.py with --aws-proxy-bin target/debug/chaos-proxy --param CacheSeconds=1 --
endef

.DEFAULT_GOAL := help
.PHONY: help run watch test soak chaos fuzz lint bench build deploy rollback sandbox redrive clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: ## local stack, demo tenant, one webhook from publish to delivery; stays up (ONCE=1 exits)
	@$(PYTHON) dev/demo.py

watch: ## the same stack; cargo lambda watch rebuilds the functions on every change
	@$(PYTHON) dev/watch.py

test: lint ## lints, then all tests except the load tests, on a local stack (ARGS for cargo nextest run)
# Without a browser its own tests fail, and say so; the others do not need one.
	-@$(PYTHON) dev/setup.py browser
	$(ON_A_STACK) cargo nextest run --locked --workspace $(ARGS)

soak: ## the load tests and the test of make watch, on a local stack (ARGS for cargo nextest run)
	@$(PYTHON) dev/setup.py build
	$(ON_A_STACK) cargo nextest run --locked --workspace --profile soak $(ARGS)

chaos: ## a minute of random faults and killed functions under load; no event may be lost (SEED, SECONDS)
	@$(PYTHON) dev/setup.py stack sam
	cargo build --locked --workspace --bins
	@$(PYTHON) dev/stack.py with --aws-proxy-bin target/debug/chaos-proxy -- target/debug/chaos \
		$(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

fuzz: ## random inputs for the parsers of inbound webhooks (SECONDS for each, SEED, TARGET, INPUT)
	FUZZ_SECONDS=$(SECONDS) FUZZ_SEED=$(SEED) FUZZ_TARGET=$(TARGET) FUZZ_INPUT=$(INPUT) \
		cargo test --locked -p domain --test fuzz -- --ignored --nocapture

lint: ## formatting, clippy, licences and duplicate crates, the template and its grants
	@$(PYTHON) dev/setup.py sam deny
	cargo fmt --all --check
	cargo fetch --locked
	cargo clippy --locked --workspace --all-targets -- -D warnings
	.local/deny/bin/cargo-deny --offline --locked check -D unmatched-skip -D unnecessary-skip licenses bans
	$(SAM) validate --lint --region us-east-1
	.local/sam/bin/cfn-lint template.yaml edge.yaml network.yaml dev/deploy-role.yaml dev/sandbox-receiver.yaml
	.local/sam/bin/python dev/grants.py

bench: ## release binaries: cold start, size, AWS calls, CPU and time per delivery beside their floors (ARGS=--save, PROFILE=1)
	@$(PYTHON) dev/setup.py stack sam
	$(if $(PROFILE),CARGO_PROFILE_RELEASE_STRIP=none) cargo build --locked --release --workspace --bins --examples
	$(PYTHON) benches/cold_start.py
	@$(PYTHON) dev/stack.py with --aws-proxy-bin target/release/chaos-proxy --bin-dir target/release \
		--param DispatcherConcurrency=2 -- $(PYTHON) benches/engine.py
	@$(PYTHON) dev/stack.py with --aws-proxy-bin target/release/chaos-proxy --bin-dir target/release -- \
		$(PYTHON) benches/hot.py $(ARGS)

build: ## release binaries for Lambda by sam build and cargo-lambda (ARCH=x86_64 only to try)
	@$(PYTHON) dev/setup.py sam build
# cargo-lambda builds without --locked, so what it could change is fetched before, and it may fetch nothing.
	cargo fetch --locked
	CARGO_NET_OFFLINE=true $(WITH_CARGO_LAMBDA) $(SAM) build --config-env $(ENV) $(if $(ARCH),--parameter-overrides Architecture=$(ARCH))

# The build must use the architecture that samconfig.toml deploys.
deploy: override ARCH =
deploy: $(if $(BUILT),,build) ## build, check the account, deploy, keep the release (ENV=dev|prod; CI=1 without asking; FORCE=1 in spite of the checks; BUILT=1 what make build built)
	$(RELEASE) deploy $(RELEASE_OPTIONS)

rollback: ## deploy the release before the deployed one, without a build (ENV=dev|prod; LIST=1 only lists them)
	@$(PYTHON) dev/setup.py sam
	$(RELEASE) $(if $(LIST),list,rollback) $(RELEASE_OPTIONS)

sandbox: override ENV = sandbox
sandbox: override ARCH =
sandbox: build ## deploy to the real account ACCOUNT=…, run journeys there, remove everything (KEEP=1 leaves it)
	.local/sam/bin/python dev/sandbox.py --account $(or $(ACCOUNT),$(error name the account: make sandbox ACCOUNT=123456789012)) $(if $(KEEP),--keep)

redrive: ## move unreadable messages back to the lanes (STACK=name; FROM=DeadLetters)
	@$(PYTHON) dev/setup.py sam
	.local/sam/bin/python dev/redrive.py --stack-name $(or $(STACK),$(error name the stack: make redrive STACK=core-webhooks-dev)) $(if $(FROM),--from $(FROM))

clean: ## remove everything that was built and installed
	rm -rf .local .aws-sam target tests/it/clients/node_modules shared/integrations/zapier-app/node_modules
