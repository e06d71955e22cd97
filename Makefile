# The two commands are `make demo` and `make test`. Both install what is missing,
# after saying what and why, and work from a fresh clone.
#
#   make demo [FAULT=name]   a small shop, a real fault in it, and its diagnosis
#   make test                every check and every test
#   make bench               what Taproot costs, as ratios, to target/bench.json
#   make eval DATA=folder    the analysis scored on public data, beside peers' figures
#   make fuzz [SECONDS=600]  every fuzz target for that long
#   make setup               only install what is missing

SHELL := /bin/sh
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)
TAPROOT ?= $(TARGET_DIR)/x86_64-unknown-linux-gnu/release/taproot

# Loading BPF programs and making namespaces takes root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

FAULT ?= noisy-neighbour
DEMO = $(SUDO) $(TAPROOT) lab run $(FAULT)
BENCH = $(SUDO) $(TAPROOT) lab bench --output $(TARGET_DIR)/bench.json
SECONDS ?= 600
DATA ?= $(TAPROOT_DATA)

.PHONY: help demo test bench eval fuzz setup release

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@scripts/setup.sh

release:
	@scripts/setup.sh build lab
	$(CARGO) build --release --locked --package taproot-cli

demo: release
	$(DEMO)

test:
	@scripts/setup.sh
	@$(CARGO) xtask test

bench: release
	$(BENCH)

eval: release
	@test -n "$(DATA)" || { echo "say where the data sets are: make eval DATA=folder" >&2; exit 1; }
	$(TAPROOT) eval all $(DATA) --brief --write $(TARGET_DIR)/eval
	$(TAPROOT) eval all $(DATA) --brief --write $(TARGET_DIR)/eval --mode given
	$(TAPROOT) eval all $(DATA) --brief --write $(TARGET_DIR)/eval --mode given:late=60
	$(TAPROOT) eval lab crates/eval/tests --brief --write $(TARGET_DIR)/eval

fuzz:
	@scripts/setup.sh build
	@CARGO=$(CARGO) scripts/fuzz.sh $(SECONDS)
