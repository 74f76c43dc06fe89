# Everything a person or CI runs. `make demo` and `make test` are enough on a fresh machine with rustup, gcc, make and git.
ARCH   := $(shell uname -m)
TARGET := $(ARCH)-unknown-linux-musl
BUILT  := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(BUILT)/$(TARGET)/release/repo-deploy
# The binary that prints manual pages and completions: another one where BINARY is for another architecture.
PRINTS ?= $(BINARY)
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
ROOT   := $(DESTDIR)$(PREFIX)
DOC    := $(ROOT)/share/doc/repo-deploy
UNITS  := repo-deploy.service repo-deploy@.service repo-deploy-check.service repo-deploy-check.timer repo-deploy-deployer.service
# Every file that `make install` writes and `make uninstall` removes, but those of $(SYSCONFDIR).
FILES  := bin/repo-deploy share/man/man8/repo-deploy.8 share/man/man5/repo-deploy.cfg.5 \
	share/bash-completion/completions/repo-deploy share/zsh/site-functions/_repo-deploy \
	share/fish/vendor_completions.d/repo-deploy.fish
# The architectures of `make dist`. The one of this machine is among them: its binary prints the manual pages and completions.
ARCHES ?= $(sort $(ARCH) x86_64 aarch64)
# Tests wait for servers, hooks and disks half of the time: two for each processor keep it busy.
THREADS ?= $(shell expr 2 \* $$(nproc))

.PHONY: build dist dist-check check fmt lint test quick corpus demo bench fleet install uninstall help clean

build: ## the static binary for this machine
	./musl-build.sh $(ARCH)

dist: ## a release in dist/: binaries, packages, sums; signed with MINISIGN_KEY=FILE; ARCHES names fewer architectures
	./musl-build.sh $(ARCHES)
	etc/dist/run $(ARCHES)

dist-check: ## makes a release twice, in two directories, and compares the bytes
	etc/dist/check $(ARCHES)

check: ## does it compile?
	cargo check --locked --all-targets

fmt: ## one layout for all
	cargo fmt

lint: ## what can be said without running it
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck musl-build.sh etc/demo/run etc/demo/app/bin/greet etc/demo/*-update.d/* tests/parts.sh .ci/run etc/dist/run etc/dist/licenses etc/dist/package etc/dist/sign etc/dist/check etc/dist/deb/p* etc/image/build etc/image/root/etc/init.d/rcS \
		etc/image/root/etc/udhcpc.script; else echo "shellcheck is not here: shell scripts not looked at"; fi
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

bench: build ## side by side with curl, bsdtar, unzip, git and zsync, as ratios: into docs/performance.md
	rm -f $(BUILT)/bench-rows
	BENCH_ROWS=$(BUILT)/bench-rows python3 tests/bench_disks.py $(BINARY)
	BENCH_ROWS=$(BUILT)/bench-rows python3 tests/bench.py $(BINARY)
	python3 tests/bench_page.py $(BUILT)/bench-rows docs/performance.md $(BINARY)

fleet: ## the requests of 10,000 and 100,000 simulated hosts, as the table of docs/operations.md; takes a minute or two
	@all=$$(REPO_DEPLOY_FLEET=1 cargo test --quiet --locked --bin repo-deploy -- --nocapture daemon::fleet_tests::hosts) || \
		{ echo "$$all"; exit 1; }; echo "$$all" | grep '^|'

install: ## the binary that `make build` left, and all that belongs to it: DESTDIR, PREFIX, SYSCONFDIR, UNITDIR; no cargo
	@test -x $(BINARY) || { echo "make install: there is no $(BINARY): run make build first" >&2; exit 1; }
	umask 022; install -D -m 755 $(BINARY) $(ROOT)/bin/repo-deploy
	umask 022; install -d $(ROOT)/share/man/man8 $(ROOT)/share/man/man5 $(ROOT)/share/bash-completion/completions \
		$(ROOT)/share/zsh/site-functions $(ROOT)/share/fish/vendor_completions.d $(DOC) $(DESTDIR)$(UNITDIR)
	set -e; umask 022; program=$$(realpath $(PRINTS)); \
		$$program help repo-deploy.8 > $(ROOT)/share/man/man8/repo-deploy.8; \
		$$program help repo-deploy.cfg.5 > $(ROOT)/share/man/man5/repo-deploy.cfg.5; \
		$$program completions bash > $(ROOT)/share/bash-completion/completions/repo-deploy; \
		$$program completions zsh > $(ROOT)/share/zsh/site-functions/_repo-deploy; \
		$$program completions fish > $(ROOT)/share/fish/vendor_completions.d/repo-deploy.fish
	install -m 644 LICENSE README.md CHANGELOG.md etc/repo-deploy.cfg etc/repo-deploy.cron $(DOC)
	umask 022; cp -R etc/init etc/monitoring etc/systemd/hardening.conf $(DOC)
	set -e; umask 022; for unit in $(UNITS); do \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|; s|/etc/repo-deploy|$(SYSCONFDIR)/repo-deploy|' etc/systemd/$$unit > $(DESTDIR)$(UNITDIR)/$$unit; done
	umask 022; install -d $(DESTDIR)$(SYSCONFDIR)/logrotate.d \
		$(DESTDIR)$(SYSCONFDIR)/repo-deploy/pre-update.d $(DESTDIR)$(SYSCONFDIR)/repo-deploy/post-update.d
	@# What the administrator has changed stays.
	@set -e; for pair in repo-deploy.cfg:repo-deploy/repo-deploy.cfg repo-deploy.logrotate:logrotate.d/repo-deploy; do \
		target=$(DESTDIR)$(SYSCONFDIR)/$${pair#*:}; \
		if [ -e $$target ] || [ -L $$target ]; then echo "$$target stays as it is"; else install -m 644 etc/$${pair%%:*} $$target; fi; done

uninstall: ## removes what install wrote; a configuration that was changed, hooks and releases stay
	rm -f $(addprefix $(ROOT)/,$(FILES)) $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS))
	rm -f $(addprefix $(DOC)/,LICENSE README.md CHANGELOG.md repo-deploy.cfg repo-deploy.cron hardening.conf)
	rm -f $(patsubst etc/%,$(DOC)/%,$(wildcard etc/init/* etc/monitoring/*))
	@set -e; for pair in repo-deploy.cfg:repo-deploy/repo-deploy.cfg repo-deploy.logrotate:logrotate.d/repo-deploy; do \
		target=$(DESTDIR)$(SYSCONFDIR)/$${pair#*:}; \
		if cmp -s etc/$${pair%%:*} $$target; then rm -f $$target; \
		elif [ -e $$target ]; then echo "$$target stays as it is"; fi; done
	@# Directories that have something else in them stay.
	@for dir in $(DOC)/init $(DOC)/monitoring $(DOC) $(addprefix $(DESTDIR)$(SYSCONFDIR)/repo-deploy/,pre-update.d post-update.d) $(DESTDIR)$(SYSCONFDIR)/repo-deploy; do \
		rmdir $$dir 2>/dev/null || true; done

help: ## this list
	@sed -n 's/^\([a-z-][a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do printf '%-10s %s\n' "$$target" "$$text"; done

clean: ## removes what was built
	cargo clean
	rm -rf dist
