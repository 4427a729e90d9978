# restage on a fresh Debian with rustup's toolchain: `make demo` and `make test` install what else they need (.ci/install).

# cargo, where the shell that called has not read ~/.cargo/env; daemons, where an ordinary user's PATH doesn't look.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

program := target/release/restage

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## the optimised program, in target/release
	@.ci/install build
	@cargo build --release --locked

demo: build ## what restage is for, in a minute
	@.ci/install applications
	@.ci/demo $(program)

# The scenarios run once more outside cargo: with the optimised program, as its users start it, and as an ordinary user.
test: build ## every test, then every scenario, as root and as an ordinary user
	@.ci/install applications
	@.ci/tests
	@.ci/scenarios $(program)

prefix ?= /usr/local
destdir := $(DESTDIR)$(prefix)

install: build ## the program, its manual pages and completions, below $(prefix); DESTDIR is honoured
	@install -D --mode=755 $(program) $(destdir)/bin/restage
	@$(program) man --folder $(destdir)/share/man/man1
	@mkdir -p $(destdir)/share/bash-completion/completions $(destdir)/share/zsh/site-functions $(destdir)/share/fish/vendor_completions.d
	@$(program) completions bash >$(destdir)/share/bash-completion/completions/restage
	@$(program) completions zsh >$(destdir)/share/zsh/site-functions/_restage
	@$(program) completions fish >$(destdir)/share/fish/vendor_completions.d/restage.fish

deb: build ## a Debian package, in target/debian, which is then tried in a bare Debian
	@.ci/install deb
	@rm -rf target/package
	@$(MAKE) --no-print-directory install DESTDIR=target/package prefix=/usr
	@.ci/deb
	@.ci/bare target/debian/restage_*.deb

lint: ## format, clippy and documentation, warnings being errors
	@.ci/install build
	@cargo fmt --check
	@cargo clippy --quiet --locked --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --no-deps

soak: build ## scenarios and the tests of the truth, a hundred times on a busy machine
	@.ci/install applications
	@.ci/soak $(program)

bench: build ## the figures, beside tcprewrite, tcpreplay, dd and editcap in one run; writes BENCHMARKS.md
	@.ci/install bench
	@cargo run --quiet --release --locked --example bench -- --bench

# Instruction counts, which a busy machine doesn't change; `make bench-quick update=--update` commits to new ones.
bench-quick: build ## instruction counts of a few jobs, beside those in benches/instructions
	@.ci/install bench-quick
	@.ci/instructions $(program) $(update)

.PHONY: help build demo test install deb lint soak bench bench-quick
