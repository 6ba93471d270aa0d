# SPDX-License-Identifier: GPL-2.0-only
#
# The Rust compiler's flags, from the target kernel's configuration (include/config/auto.conf is included before).
# They say the same as the flags the kernel gives to its C compiler: return thunks, retpolines, straight-line speculation
# guards, indirect branch tracking, call padding. modpost and objtool refuse a module where they differ.
# Options were renamed over the years (RETPOLINE became MITIGATION_RETPOLINE in 6.9), so both names are asked for.

config = $(strip $(foreach c,$(1),$(CONFIG_$(c)) $(CONFIG_MITIGATION_$(c))))

# Target: the compiler's own x86_64-unknown-none, with features the command line does not know.
RUST_FEATURES :=
ifneq ($(call config,RETPOLINE),)
RUST_FEATURES += +retpoline-external-thunk +retpoline-indirect-branches +retpoline-indirect-calls
endif
ifneq ($(call config,SLS),)
RUST_FEATURES += +harden-sls-ijmp +harden-sls-ret
endif

RUST_FLAGS := -Cpanic=abort -Crelocation-model=static -Ccode-model=kernel -Cno-redzone=y -Cforce-unwind-tables=n \
	-Csymbol-mangling-version=v0 -Coverflow-checks=on -Copt-level=2 -Ccodegen-units=1 -Cdebug-assertions=off \
	-Zfunction-sections=n -Zplt=yes
ifneq ($(call config,RETHUNK),)
RUST_FLAGS += -Zfunction-return=thunk-extern
endif
# Jump tables need indirect jumps: an ENDBR at every target under IBT, a thunk under retpoline. LLVM leaves them out by itself
# for the latter only.
RUST_FLAGS += -Zno-jump-tables
ifneq ($(CONFIG_X86_KERNEL_IBT),)
RUST_FLAGS += -Zcf-protection=branch
endif
ifneq ($(CONFIG_CALL_PADDING),)
RUST_FLAGS += -Zpatchable-function-entry=$(CONFIG_FUNCTION_PADDING_BYTES),$(CONFIG_FUNCTION_PADDING_BYTES)
endif
ifneq ($(CONFIG_FRAME_POINTER),)
RUST_FLAGS += -Cforce-frame-pointers=y
endif
ifneq ($(CONFIG_CFI)$(CONFIG_CFI_CLANG),)
RUST_FLAGS += -Zsanitizer=kcfi -Zsanitizer-cfi-normalize-integers
endif
# The kernel's address sanitizer, by calls: each load and store asks the kernel's own shadow memory, as those of the shim do.
ifneq ($(CONFIG_KASAN_GENERIC),)
RUST_FLAGS += -Zsanitizer=kernel-address -Zsanitizer-recover=kernel-address \
	$(addprefix -Cllvm-args=-,asan-instrumentation-with-call-threshold=0 asan-stack=0 asan-globals=0)
endif

# Lints, the same for each of our crates (cargo has them in the root Cargo.toml). Warnings fail the build with STRICT=1.
RUST_LINTS := -Dunsafe_op_in_unsafe_fn -Wmissing_docs -Wunreachable_pub -Wrust_2018_idioms -Wunused -Dnon_ascii_idents \
	$(if $(STRICT),-Dwarnings)
