# shellcheck shell=bash
# What the findings share; not a finding itself. It makes the folder $work, which is removed at the end, and has
#   packages NAME==VERSION ...   pinned packages in an environment of their own, first in PATH
#   needs COMMAND PACKAGE        a program that no Python package brings; without it the finding is not tried (77)
#   expect WHAT FOUND EXPECTED   what was seen; ends the finding with 1 when it is no longer so
#   bare_cortex_m                start.c, which calls say() on a Cortex-M with a float unit, and the linker script memory.ld
#   bare_run MACHINE PROGRAM     what such a program says in QEMU: semihosting(4, text) in its say()
# FINDINGS_CACHE=DIR keeps environments there, so that several runs install a package once.

export HF_HUB_OFFLINE=1 # everything is made on the spot
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ZIG_LOCAL_CACHE_DIR=$work/zig

packages() {
    local place
    place=${FINDINGS_CACHE:-$work}/$(printf '%s\n' "$@" | cksum | cut -d ' ' -f 1)
    if [ ! -e "$place/complete" ]; then
        python3 -m venv "$place"
        "$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@" > "$work/pip" 2>&1 ||
            { cat "$work/pip" >&2; exit 1; }
        touch "$place/complete"
    fi
    PATH=$place/bin:$PATH
    echo "with $*"
}

needs() {
    if ! command -v "$1" > /dev/null; then
        echo "not tried: '$1' is not installed (Debian: apt-get install $2)"
        exit 77
    fi
}

expect() {
    if [ "$2" != "$3" ]; then
        printf 'CHANGED: %s\n--- found\n%s\n--- expected\n%s\n' "$1" "$2" "$3"
        exit 1
    fi
    printf '%s:\n%s\n' "$1" "$2"
}

bare_cortex_m() {
    cat > start.c << 'EOF'
#include <stdint.h>

void semihosting(int call, const void *argument);
void say(void);
void reset(void);

void semihosting(int call, const void *argument)
{
    register int r0 __asm__("r0") = call;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void reset(void)
{
    static const uint32_t end[2] = {0x20026, 0};
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the float unit on */
    __asm__ volatile("dsb\nisb");
    say();
    semihosting(0x20, end);
    for (;;) { }
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[2] = {0x20008000, (uintptr_t)reset};
EOF
    cat > memory.ld << 'EOF'
SECTIONS {
    . = 0; .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) }
    . = 0x20000000; .bss : { *(.bss*) }
    /DISCARD/ : { *(.ARM.*) }
}
EOF
}

bare_run() {
    qemu-system-arm -M "$1" -display none -serial none -monitor none -semihosting-config enable=on,target=native \
        -kernel "$2" 2>&1
}
