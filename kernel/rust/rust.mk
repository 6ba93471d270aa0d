# SPDX-License-Identifier: GPL-2.0-only
#
# From Rust sources to one relocatable object per module: OUT/rust/blkfilter.o and OUT/rust/blksnap.o.
#
# `core`, `alloc` and a stub `compiler_builtins` are built from the distribution's rust-src, once for each compiler and set of
# flags, in CACHE. Our crates and the modules follow in OUT/rust. The static library of a module is made with fat LTO, which
# leaves only what is reached from its entry points.

export RUSTC_BOOTSTRAP := 1

RUSTC_TEXT := $(shell $(RUSTC) --version)
RUST_LIBRARY := $(firstword $(wildcard $(shell $(RUSTC) --print sysroot)/lib/rustlib/src/rust/library))
ifeq ($(RUST_LIBRARY),)
$(error $(RUSTC) has no library sources: install rust-src of the same version)
endif
# Its minor version: Rust's library moved to edition 2024 in 1.87.
RUSTC_MINOR := $(word 2,$(subst ., ,$(word 2,$(RUSTC_TEXT))))
RUST_CORE_EDITION := $(if $(shell test $(RUSTC_MINOR) -ge 87 && echo y),2024,2021)

RUST_KEY := $(firstword $(shell printf '%s' '$(RUSTC_TEXT) $(RUST_FEATURES) $(RUST_FLAGS) 3' | sha256sum))
SYSROOT := $(CACHE)/rust-core-$(RUST_KEY)
RUST := $(OUT)/rust

rust_target = --target $(SYSROOT)/target.json
rust_lib = $(RUSTC) $(rust_target) $(RUST_FLAGS) --crate-type rlib --sysroot /dev/null

# ---- the compiler's library, cached --------------------------------------------------------------------------------------
# Made under a temporary name and renamed, so that two builds at a time cannot see a half of it.
comma := ,
empty :=
space := $(empty) $(empty)

$(SYSROOT)/done:
	@echo "  RUST    core, alloc ($(RUSTC_TEXT)) -> $(SYSROOT)"
	@mkdir -p $(CACHE) && rm -rf $(SYSROOT).$$$$ && mkdir $(SYSROOT).$$$$ && cd $(SYSROOT).$$$$ && \
	$(RUSTC) -Zunstable-options --print target-spec-json --target x86_64-unknown-none \
		| sed -e 's/\(+soft-float\)/\1$(addprefix $(comma),$(subst $(space),$(comma),$(strip $(RUST_FEATURES))))/' \
		      -e '/"\(is-builtin\|plt-by-default\|position-independent-executables\|static-position-independent-executables\)"/d' > target.json && \
	$(RUSTC) --target target.json $(RUST_FLAGS) --crate-type rlib --sysroot /dev/null --cap-lints allow --crate-name core \
		--edition $(RUST_CORE_EDITION) --cfg no_fp_fmt_parse --out-dir . $(RUST_LIBRARY)/core/src/lib.rs && \
	$(RUSTC) --target target.json $(RUST_FLAGS) --crate-type rlib --sysroot /dev/null --cap-lints allow --crate-name compiler_builtins \
		--edition 2021 -L . --out-dir . $(SRC)/rust/compiler_builtins.rs && \
	$(RUSTC) --target target.json $(RUST_FLAGS) --crate-type rlib --sysroot /dev/null --cap-lints allow --crate-name alloc \
		--edition $(RUST_CORE_EDITION) --cfg no_global_oom_handling -L . --out-dir . $(RUST_LIBRARY)/alloc/src/lib.rs && \
	touch done && { mv -T $(SYSROOT).$$$$ $(SYSROOT) 2>/dev/null || rm -rf $(SYSROOT).$$$$; }

# ---- our crates ----------------------------------------------------------------------------------------------------------
CRATES := $(SRC)/../crates
rust_ours = $(rust_lib) -L $(SYSROOT) -L $(RUST) --edition 2021 $(RUST_LINTS) --emit=link,dep-info

# Flags changed, or another compiler, or a folder moved: everything is built anew.
rust_state := $(SYSROOT) $(SRC) $(RUST_LINTS)
$(RUST)/flags: FORCE
	@mkdir -p $(RUST)
	@echo '$(rust_state)' | cmp -s - $@ || { rm -rf $(RUST)/*; echo '$(rust_state)' > $@; }

rust_base := $(SYSROOT)/done $(RUST)/flags

$(RUST)/libblksnap_uapi.rlib: $(CRATES)/uapi/src/lib.rs $(rust_base)
	@echo "  RUSTC   blksnap_uapi"
	@$(rust_ours) --out-dir $(RUST) --crate-name blksnap_uapi $<

$(RUST)/libblksnap_core.rlib: $(CRATES)/core/src/lib.rs $(rust_base)
	@echo "  RUSTC   blksnap_core"
	@$(rust_ours) --cfg no_global_oom_handling --check-cfg 'cfg(no_global_oom_handling,loom,test)' --check-cfg 'cfg(feature, values("std"))' --out-dir $(RUST) --crate-name blksnap_core $<

# ---- the modules ---------------------------------------------------------------------------------------------------------
# `kern` is built once for each module, with the module's name as a cfg, so that it has what the module needs and no more.
# The module itself is a static library with everything in it, then one object of what is left.
rust_externs_blksnap := --extern blksnap_core=$(RUST)/libblksnap_core.rlib --extern blksnap_uapi=$(RUST)/libblksnap_uapi.rlib
$(RUST)/blksnap.o: $(RUST)/libblksnap_core.rlib $(RUST)/libblksnap_uapi.rlib

# An example filter uses the side of `kern` that blksnap uses.
rust_cfg = --check-cfg 'cfg(blkfilter,blksnap)' --cfg $(if $(filter blkfilter,$*),blkfilter,blksnap)

$(RUST)/%/libkern.rlib: $(SRC)/src/kern/lib.rs $(rust_base)
	@echo "  RUSTC   kern ($*)"
	@mkdir -p $(@D)
	@$(rust_ours) $(rust_cfg) --out-dir $(@D) --crate-name kern $<

$(RUST)/%.o: $(SRC)/src/%/lib.rs $(RUST)/%/libkern.rlib
	$(rust_object)

$(RUST)/%.o: $(SRC)/samples/%.rs $(RUST)/%/libkern.rlib
	$(rust_object)

define rust_object
	@echo "  RUSTC   $*"
	@$(RUSTC) $(rust_target) $(RUST_FLAGS) --sysroot /dev/null -L $(SYSROOT) -L $(RUST) --edition 2021 $(RUST_LINTS) $(rust_cfg) \
		--crate-name $*_mod --crate-type staticlib -Clto=fat --emit=link=$(RUST)/lib$*_mod.a,dep-info=$(RUST)/$*_mod.d \
		--extern kern=$(RUST)/$*/libkern.rlib $(rust_externs_$*) $<
	@sed -i '1s#^[^:]*:#$@:#' $(RUST)/$*_mod.d
	@$(LD) -r --whole-archive $(RUST)/lib$*_mod.a -o $@
	@$(OBJCOPY) --remove-section=.llvmbc --remove-section=.llvmcmd --remove-section=.comment $@
	@! $(READELF) -rW $@ | grep -m1 GOT || { echo "$@: the kernel's module loader knows no GOT" >&2; exit 1; }
endef

-include $(wildcard $(RUST)/*.d $(RUST)/*/*.d)
