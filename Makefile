# SPDX-License-Identifier: GPL-2.0-only
# For people. Every target is one call of xtask (see xtask/src/main.rs); `make help` lists them.

.DEFAULT_GOAL := help
XTASK = @sh xtask/run.sh

.PHONY: help demo test test-debug sim mutants bench bench-check fuzz sanitize check modules install uninstall setup clean

help: ## this list
	@echo 'make TARGET    [KERNEL=6.1|6.12|7.3] [HOST=1]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo 'HOST=1 runs the demo on this machine in place of a virtual one; KERNEL chooses the kernel (demo, test, modules).'
	@echo 'cargo xtask vm -- COMMAND runs a command in a virtual machine with the modules.'

demo: ## full, incremental and differential backup of two live disks, restored and verified
	$(XTASK) demo $(if $(KERNEL),--kernel $(KERNEL)) $(if $(HOST),--host)

# Parts of the names of tests that run in the debug kernel with DEBUG=1 (test-debug by itself runs all). See docs/testing.md.
DEBUG_SHORT = submitter_serves image_equals several_cost_one scsi_disk_vanishes rmmod_with_snapshot injected_page_failures_while \
	injected_read_errors_of_the_origin seeded_faults
space := $(subst ,, )
either = $(subst $(space),|,$(strip $(1)))

test: ## every test: core, user space, and the modules on all kernels in virtual machines; DEBUG=1: some in the debug kernel, too
	$(XTASK) test $(if $(KERNEL),--kernel $(KERNEL)) $(if $(DEBUG),--debug '$(call either,$(DEBUG_SHORT))')

test-debug: ## the same in a kernel that watches itself: KASAN, lockdep, kmemleak, injected faults: NAME=part of names
	$(XTASK) test --vm --kernel 6.1-debug --guests 2 $(if $(NAME),--name '$(NAME)')

sim: ## the core on simulated disks: SEED= STEPS= SECONDS=
	$(XTASK) sim -- $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS)) $(if $(SECONDS),--seconds $(SECONDS))

mutants: ## the simulator against seeded defects: it must find each
	$(XTASK) mutants

bench: ## figures beside dm-snapshot's, into docs/bench (13 to 20 minutes); MACHINE=kvm|host: by the clock, into a folder below it
	$(XTASK) bench $(if $(KERNEL),--kernel $(KERNEL)) $(if $(MACHINE),--machine $(MACHINE))

bench-check: ## the short form: fails where a figure is more than 5 % worse than the one in docs/bench
	$(XTASK) bench --check

fuzz: ## every decoder on inputs made by a machine: RUNS= NAME=
	$(XTASK) fuzz $(if $(RUNS),--runs $(RUNS)) $(if $(NAME),--name $(NAME))

sanitize: ## the crates' tests under the address sanitizer
	$(XTASK) sanitize

check: ## formatting, lints, the layer rule, licences, documentation
	$(XTASK) check

modules: ## the kernel modules, into target/modules
	$(XTASK) modules $(if $(KERNEL),--kernel $(KERNEL))

install: ## modules for the running kernel and the command, onto this machine
	$(XTASK) install

uninstall: ## takes them off again
	$(XTASK) install --remove

setup: ## makes the cache (the other targets do it by themselves)
	$(XTASK) setup

clean: ## removes target/ (the cache stays)
	$(XTASK) clean
