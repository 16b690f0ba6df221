# The two commands are `make demo` and `make test`. Everything else is listed by `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# A cargo that rustup installed may not be on this shell's PATH yet.
export PATH := $(PATH):$(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin
CARGO := cargo

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Unoptimised: from scratch on two cores it is there in half the time (102 s; --release takes 203 s), and runs as well.
demo: build-packages ## Run the whole story on this machine: onboarding, states, a command, its results
	$(CARGO) run --locked -- demo

test: test-packages ## Run every test: unit, property, simulation, real sockets, foreign programs, documentation
	THINGIF_FOREIGN_PROGRAMS=required $(CARGO) test --locked

interop: test-packages ## Run only the tests against mosquitto and Python's paho
	THINGIF_FOREIGN_PROGRAMS=required $(CARGO) test --locked --test interop

conformance: test-packages ## Grade this crate's client and service, and broken clients, by the conformance pack
	$(CARGO) build --locked --bin thingif --example conformance_client
	THINGIF_FOREIGN_PROGRAMS=required $(CARGO) test --locked --test conformance

fault-matrix: build-packages ## Everything that can go wrong, over each transport, on real sockets; prints what was seen in each
	$(CARGO) test --locked --test fault_matrix

# Floors 0 and 1 alone, optimised: some thousand schedules a second. SEED=123 TRACE=1 shows one of them step by step.
simulate: build-packages ## A million seeded schedules in virtual time; SEEDS=n for n of them, SEED=n TRACE=1 for one
	SIMULATION_SEEDS=$(or $(SEEDS),1000000) SIMULATION_FIRST_SEED=$(FIRST_SEED) SIMULATION_SEED=$(SEED) SIMULATION_TRACE=$(TRACE) \
		$(CARGO) test --locked --release --no-default-features --test simulation -- --nocapture

# As above, and captures of packets; FILE=… TARGET=… reads one input again.
fuzz: build-packages ## Five million broken inputs to each reader; CASES=n, FIRST=n, TARGET=name, FILE=input
	FUZZ_CASES=$(or $(CASES),5000000) FUZZ_FIRST=$(FIRST) FUZZ_TARGET=$(TARGET) FUZZ_FILE=$(FILE) \
		$(CARGO) test --locked --release --no-default-features --features pcap --test fuzz -- --nocapture

# Unoptimised, as everything else that is built for tests.
fuzz-service: build-packages ## A hundred thousand generated requests to the whole service; CASES=n, SEED=n
	GENERATED_CASES=$(or $(CASES),100000) GENERATED_SEED=$(SEED) \
		$(CARGO) test --locked --test cloud_generated -- --nocapture

soak: build-packages ## 500 devices for 10 minutes, the server killed every 20 s; SOAK_SECONDS=n, SOAK_SEED=n, SOAK_TRANSPORT=native
	ulimit -n 4096; SOAK_SECONDS=$(or $(SOAK_SECONDS),600) SOAK_DEVICES=$(or $(SOAK_DEVICES),500) SOAK_PROCESSES=$(or $(SOAK_PROCESSES),4) \
		SOAK_KILL_EVERY=$(or $(SOAK_KILL_EVERY),20) SOAK_SEED=$(SOAK_SEED) SOAK_TRANSPORT=$(SOAK_TRANSPORT) $(CARGO) test --locked --test soak

# 20,000 connections need as many descriptors: the benches raise their limit as far as the system lets them.
bench: build-packages ## Measure everything beside peers; tables, one summary of goals, JSON and charts in target/bench
	rm -rf target/bench
	$(CARGO) bench --locked
	$(CARGO) bench --locked --bench charts

# What `make bench` has of it: a quarter of an hour on two cores at first, because each program is built with features of its own.
footprint: build-packages ## Measure only what a device pays: size of its program, memory, threads, calls in flight
	$(CARGO) bench --locked --bench footprint

cross: ## Build the minimal device for aarch64 and armv7, and without any C; skips loudly what this machine lacks
	bash .ci/cross

check-instructions: instruction-packages ## Count the instructions of all that is done for each message, against a stored baseline
	sh benches/instructions.sh

lint: build-packages ## Formatting, clippy on every feature set, documentation; warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features client -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features paho-tcp -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features client,paho -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features native -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features native-tls -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features edge -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features cloud -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features bridge -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features pcap -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --no-default-features

build-packages:
	@bash .ci/install build

test-packages:
	@bash .ci/install test

# Without valgrind nothing is counted, which is said loudly and is no failure.
instruction-packages:
	-@bash .ci/install instructions

.PHONY: help demo test interop conformance fault-matrix simulate fuzz fuzz-service soak bench footprint cross check-instructions lint build-packages test-packages instruction-packages
