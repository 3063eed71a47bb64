/* A plugin for QEMU 7 and later: counts the instructions that a program executes.
 *
 * QEMU loads it with -plugin; its few functions are declared here, because distributions ship no header for them.
 * At the end it writes "instructions N" to standard error. Before that come, when they are asked for,
 *
 *   blocks=on       "block ADDRESS N" for each run of instructions without a branch, N executed in it altogether
 *   clock=ADDRESS   "between N" of the last two calls of the function that begins there */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_info;
struct qemu_plugin_tb;

void     qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*seen)(plugin_id id, struct qemu_plugin_tb *block));
void     qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*executed)(unsigned cpu, void *count),
                                              int flags, void *count);
void     qemu_plugin_register_atexit_cb(plugin_id id, void (*ended)(plugin_id id, void *user), void *user);
size_t   qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);

#define EXPORT __attribute__((visibility("default")))
#define NO_REGISTERS 0

EXPORT int qemu_plugin_version = PLUGIN_VERSION;
EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv);

/* A translated block. QEMU may translate an address again; it then has several blocks. */
struct block {
    uint64_t address, instructions, executed;
    struct block *before;
};

static struct block *last;

static bool with_blocks;
static uint64_t clock_address = UINT64_MAX;
static uint64_t at_call, before_call; /* what had been executed at the last call of the clock, and at the one before */

static uint64_t so_far(void)
{
    uint64_t total = 0;
    for (const struct block *block = last; block != NULL; block = block->before)
        total += block->instructions * block->executed;
    return total;
}

static void called(unsigned cpu, void *nothing)
{
    (void)cpu;
    (void)nothing;
    before_call = at_call;
    at_call = so_far();
}

static void executed(unsigned cpu, void *block)
{
    (void)cpu;
    ((struct block *)block)->executed++;
}

static void seen(plugin_id id, struct qemu_plugin_tb *translated)
{
    (void)id;
    struct block *block = malloc(sizeof *block);
    if (block == NULL)
        abort();
    *block = (struct block){ qemu_plugin_tb_vaddr(translated), qemu_plugin_tb_n_insns(translated), 0, last };
    last = block;
    if (block->address == clock_address)
        qemu_plugin_register_vcpu_tb_exec_cb(translated, called, NO_REGISTERS, NULL);
    qemu_plugin_register_vcpu_tb_exec_cb(translated, executed, NO_REGISTERS, block);
}

static void ended(plugin_id id, void *nothing)
{
    (void)id;
    (void)nothing;
    for (const struct block *block = with_blocks ? last : NULL; block != NULL; block = block->before)
        if (block->executed > 0)
            fprintf(stderr, "block %" PRIx64 " %" PRIu64 "\n", block->address, block->instructions * block->executed);
    if (before_call > 0)
        fprintf(stderr, "between %" PRIu64 "\n", at_call - before_call);
    fprintf(stderr, "instructions %" PRIu64 "\n", so_far());
}

int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        with_blocks = with_blocks || strcmp(argv[i], "blocks=on") == 0;
        if (strncmp(argv[i], "clock=", 6) == 0)
            clock_address = strtoull(argv[i] + 6, NULL, 0);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, seen);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
