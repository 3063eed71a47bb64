/*
 * The limit: what memory and arithmetic of this machine allow, whatever the program.
 *
 *     limit read     BYTES    POSITIONS THREADS REPEATS
 *     limit multiply PRODUCTS POSITIONS THREADS REPEATS
 *
 * `read` reads as many bytes for a position as its weights have, and adds them up. `multiply` does as many products and
 * sums of floats, each rounded, in registers. Both print `seconds S` for each repeat.
 */
#define _GNU_SOURCE /* madvise */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifdef __AVX512F__
#define VECTOR 64 /* bytes */
#define SUMS   24 /* that fit the registers, and hide how long a product and a sum take */
#elif defined(__AVX__)
#define VECTOR 32
#define SUMS   12
#else
#define VECTOR 16
#define SUMS   12
#endif

typedef uint64_t words __attribute__((vector_size(VECTOR)));
typedef float    floats __attribute__((vector_size(VECTOR)));

enum {
    LANES      = VECTOR / (int)sizeof(float),
    STREAMS    = 8, /* sums of words */
    HUGE_PAGE  = 2 << 20,
    MOST_PARTS = 256
};

struct part {
    pthread_t    thread;
    const words *memory; /* NULL: multiply */
    size_t       amount; /* steps of STREAMS vectors, or of SUMS vectors */
    long         positions;
    uint64_t     result; /* so that the work is not left out */
};

static void read_all(struct part *p)
{
    words sums[STREAMS] = { { 0 } };
    for (long position = 0; position < p->positions; position++) {
        const words *at = p->memory;
        for (size_t step = 0; step < p->amount; step++, at += STREAMS)
            for (int i = 0; i < STREAMS; i++)
                sums[i] += at[i];
        __asm__ volatile("" ::: "memory"); /* the next position reads anew */
    }
    for (int i = 0; i < STREAMS; i++)
        p->result += sums[i][0];
}

static void multiply_all(struct part *p)
{
    floats sums[SUMS];
    floats half = { 0 };
    half += 0.5f;
    for (int i = 0; i < SUMS; i++)
        sums[i] = half * (float)i;
    for (long position = 0; position < p->positions; position++)
        for (size_t step = 0; step < p->amount; step++)
            for (int i = 0; i < SUMS; i++)
                sums[i] = sums[i] * half + half;
    for (int i = 0; i < SUMS; i++)
        p->result += (uint64_t)sums[i][0];
}

static void *work(void *argument)
{
    struct part *p = argument;
    if (p->memory != NULL)
        read_all(p);
    else
        multiply_all(p);
    return NULL;
}

/* Allocate memory and write to it, so that its pages are real; huge pages where the system has them. */
static const words *some_memory(size_t size)
{
    size_t whole = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void  *memory = aligned_alloc(HUGE_PAGE, whole);
    if (memory == NULL) {
        fprintf(stderr, "limit: no room for %zu bytes\n", whole);
        exit(1);
    }
#ifdef MADV_HUGEPAGE
    madvise(memory, whole, MADV_HUGEPAGE);
#endif
    memset(memory, 1, whole);
    return memory;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double run(struct part *parts, int count)
{
    double start = now();
    for (int i = 1; i < count; i++)
        if (pthread_create(&parts[i].thread, NULL, work, &parts[i]) != 0) {
            fprintf(stderr, "limit: no thread %d\n", i);
            exit(1);
        }
    work(&parts[0]);
    for (int i = 1; i < count; i++)
        pthread_join(parts[i].thread, NULL);
    return now() - start;
}

int main(int argc, char **argv)
{
    int  reads = argc == 6 && strcmp(argv[1], "read") == 0;
    long amount = argc == 6 ? atol(argv[2]) : 0, positions = argc == 6 ? atol(argv[3]) : 0;
    int  threads = argc == 6 ? atoi(argv[4]) : 0, repeats = argc == 6 ? atoi(argv[5]) : 0;
    if ((!reads && (argc != 6 || strcmp(argv[1], "multiply") != 0)) || amount < 1 || positions < 1 || threads < 1
        || threads > MOST_PARTS || repeats < 1) {
        fprintf(stderr, "usage: limit read|multiply AMOUNT POSITIONS THREADS REPEATS\n");
        return 2;
    }
    static struct part parts[MOST_PARTS];
    size_t step = reads ? STREAMS * VECTOR : SUMS * LANES;
    size_t steps = ((size_t)amount + step * (size_t)threads - 1) / (step * (size_t)threads); /* of a thread */
    for (int i = 0; i < threads; i++) {
        parts[i].memory = reads ? some_memory(steps * step) : NULL;
        parts[i].amount = steps;
        parts[i].positions = positions;
    }
    uint64_t result = 0;
    for (int repeat = 0; repeat < repeats; repeat++) {
        printf("seconds %.9f\n", run(parts, threads));
        result += parts[0].result;
    }
    return result == 1; /* it never is */
}
