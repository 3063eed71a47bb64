/* A plugin for QEMU 7 and later: counts the instructions that a program executes.
 *
 * QEMU loads it with -plugin; its few functions are declared here, because distributions ship no header for them.
 * At the end it writes "instructions N" to standard error; asked with the option `blocks=on`, before that "block
 * ADDRESS N" for each run of instructions without a branch that was executed, N in it altogether. */
#include <inttypes.h>
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

/* A translated block. Those of one address are several when QEMU translates it anew. */
struct block {
    uint64_t address, instructions, executed;
    struct block *before;
};

static struct block *last;

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
    qemu_plugin_register_vcpu_tb_exec_cb(translated, executed, NO_REGISTERS, block);
}

static void ended(plugin_id id, void *with_blocks)
{
    (void)id;
    uint64_t total = 0;
    for (const struct block *block = last; block != NULL; block = block->before) {
        uint64_t count = block->instructions * block->executed;
        total += count;
        if (with_blocks != NULL && count > 0)
            fprintf(stderr, "block %" PRIx64 " %" PRIu64 "\n", block->address, count);
    }
    fprintf(stderr, "instructions %" PRIu64 "\n", total);
}

int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    int with_blocks = argc > 0 && strcmp(argv[0], "blocks=on") == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, seen);
    qemu_plugin_register_atexit_cb(id, ended, with_blocks ? &last : NULL);
    return 0;
}
