# Everything a person or CI runs. `make demo` and `make test` are enough on a fresh machine with rustup, gcc, make and git.
ARCH   := $(shell uname -m)
TARGET := $(ARCH)-unknown-linux-musl
BUILT  := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(BUILT)/$(TARGET)/release/repo-deploy
PREFIX ?= /usr/local
# Tests wait for servers, hooks and disks half of the time: two for each processor keep it busy.
THREADS ?= $(shell expr 2 \* $$(nproc))

.PHONY: build check fmt lint test quick corpus demo bench install clean target

build: target ## the static binary for this machine
	cargo build --release --locked --target $(TARGET)
	@echo "$(BINARY): $$(wc -c < $(BINARY)) bytes"

target:
	@rustup target list --installed | grep -qx $(TARGET) || rustup target add $(TARGET)

check: ## does it compile?
	cargo check --locked --all-targets

fmt: ## one layout for all
	cargo fmt

lint: ## what can be said without running it
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck musl-build.sh etc/demo/run etc/demo/app/bin/greet etc/demo/*-update.d/* tests/parts.sh .ci/run; else echo "shellcheck is not here: shell scripts not looked at"; fi
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; else echo "cargo-deny is not here: deny.toml not checked"; fi

test: build ## everything, against real servers; installs what it needs where it can; walks try a sample (REPO_DEPLOY_EVERY_POINT=1: all)
	tests/parts.sh
	cargo test --locked --bin repo-deploy
	cargo test --locked --test suite -- --test-threads=$(THREADS)

quick: build ## the inner loop: unit tests, and the suite without walks, disks, emulators and endurance
	cargo test --locked --bin repo-deploy
	REPO_DEPLOY_QUICK=1 cargo test --locked --test suite -- --test-threads=$(THREADS)

corpus: build ## archives of other projects, against other readers; fetches them (about 1 GB) where they are not there yet
	python3 tests/corpus.py $(BINARY)

demo: build $(BUILT)/demo-server ## the main job on real input
	etc/demo/run $(BINARY) $(BUILT)/demo-server

$(BUILT)/demo-server: etc/demo/server.rs
	@mkdir -p $(BUILT)
	rustc --edition 2024 -o $@ $<

bench: build ## side by side with curl, bsdtar and unzip, as ratios
	python3 tests/bench.py $(BINARY)
	python3 tests/bench_disks.py $(BINARY)

install: build
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/repo-deploy

clean:
	cargo clean
	rm -rf dist
