/* A plugin for QEMU 7 and later: counts the instructions that a program executes.
 *
 * QEMU loads it with -plugin; its few functions are declared here, because distributions ship no header for them.
 * At the end it writes "instructions N" to standard error. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct qemu_info;
struct qemu_plugin_tb;

void   qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*seen)(plugin_id id, struct qemu_plugin_tb *block));
void   qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*executed)(unsigned cpu, void *count),
                                            int flags, void *count);
void   qemu_plugin_register_atexit_cb(plugin_id id, void (*ended)(plugin_id id, void *user), void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);

#define EXPORT __attribute__((visibility("default")))
#define NO_REGISTERS 0

EXPORT int qemu_plugin_version = PLUGIN_VERSION;
EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv);

static uint64_t total;

/* The number of a block's instructions travels as the pointer that QEMU hands back. */
static void executed(unsigned cpu, void *count)
{
    (void)cpu;
    total += (uintptr_t)count;
}

static void seen(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void ended(plugin_id id, void *user)
{
    (void)id;
    (void)user;
    fprintf(stderr, "instructions %" PRIu64 "\n", total);
}

int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, seen);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
