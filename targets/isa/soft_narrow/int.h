/* Integers for Cortex-M0+: a word holds weights of four rows, and three products with it give the sums of all
 * four. Of its registers eight take part in everything; the other ones can be added to, so that sums stay in those.
 * Compilers use none of that, hence assembly. */
#include <stddef.h>
#include <stdint.h>

#define I_MIX 4 /* outputs of i_mix */

typedef int32_t i_x; /* an element of a vector: several words are loaded at once, bytes are not */

/* Sums of products with words of four rows' weights: with whole words, with their upper halves, and with their second
 * and fourth bytes, 16 bits apart; all modulo 2^32. The sums of the four rows can be told from these. */
typedef struct i_acc { uint32_t all, upper, odd_rows; } i_acc;

/* Four bytes; the address is a multiple of four. */
V_INLINE uint32_t i_word(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
    return word;
}

/* Two columns of four rows, in r2 and r3, times two elements, in r4 and r5: the upper half of a word, the word with the
 * bytes of each half exchanged, and the word as it is */
#define I_COLUMN(word, by)                                          \
    "lsrs r6, " word ", #16\n\tmuls r6, " by ", r6\n\tadd r9, r6\n\t" \
    "rev16 r6, " word "\n\tmuls r6, " by ", r6\n\tadd r10, r6\n\t"    \
    "muls " word ", " by ", " word "\n\tadd r8, " word "\n\t"
#define I_TWO_COLUMNS "ldmia r0!, {r2, r3}\n\tldmia r1!, {r4, r5}\n\t" I_COLUMN("r2", "r4") I_COLUMN("r3", "r5")

/* sum = `columns` columns of four rows, a multiple of eight; returns where the next begin. */
V_INLINE const int8_t *i_dot_all(i_acc *sum, const int8_t *w, const i_x *x, size_t columns)
{
    register const int8_t *from __asm__("r0") = w;
    register const i_x *with __asm__("r1") = x;
    register uint32_t all __asm__("r2"), upper __asm__("r3"), turned __asm__("r4");
    register const i_x *end __asm__("r6") = x + columns;
    __asm__ volatile(".syntax unified\n\t"
                     "movs r2, #0\n\tmov r8, r2\n\tmov r9, r2\n\tmov r10, r2\n\tmov lr, r6\n"
                     "1:\n\t" I_TWO_COLUMNS I_TWO_COLUMNS I_TWO_COLUMNS I_TWO_COLUMNS
                     "cmp r1, lr\n\tbne 1b\n\t"
                     "mov r2, r8\n\tmov r3, r9\n\tmov r4, r10"
                     : "+r"(from), "+r"(with), "=&r"(all), "=&r"(upper), "=&r"(turned), "+r"(end)
                     :
                     : "r5", "r8", "r9", "r10", "lr", "cc", "memory");
    /* turned = row1 + 2^8 row0 + 2^16 row3 + 2^24 row2 */
    uint32_t lower = all - (upper << 16), rest = turned - (lower << 8) - (upper << 24); /* row1 + 2^16 (row3 - row1) */
    *sum = (i_acc){ all, upper, rest + (rest << 16) };
    return from;
}

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (size_t i = 0; i < pairs; i++, values += next) {
        int32_t first = weights[2 * i], second = weights[2 * i + 1];
        sum0 += first * values[0] + second * values[1];
        sum1 += first * values[2] + second * values[3];
        sum2 += first * values[4] + second * values[5];
        sum3 += first * values[6] + second * values[7];
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}
