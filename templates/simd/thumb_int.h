/* Whole numbers for Cortex-M0+: four weights are loaded at once and taken apart by shifts. Of its registers eight take
 * part in everything; the other ones can be added to, so that sums stay in those. Compilers use none of that, hence
 * assembly. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 4 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int32_t i_x; /* an element of a vector: several words are loaded at once, bytes are not */

/* Sums of the products with whole words, and with words of which the lowest one, two and three bytes were shifted out.
 * Each holds the sum of one of I_ROWS rows, and 256 times the next: all modulo 2^32, where the last row's sum takes the
 * others apart again. */
typedef struct i_acc { uint32_t four, three, two, one; } i_acc;

/* Four bytes; all that is read so lies at a multiple of four bytes. */
V_INLINE uint32_t i_word(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
    return word;
}

V_INLINE i_acc i_from(int32_t start)
{
    uint32_t all = (uint32_t)start;
    return (i_acc){ all * 0x01010101, all * 0x010101, all * 0x0101, all };
}

/* Two columns of four rows, in r2 and r3, times two elements, in r4 and r5 */
#define I_COLUMN(word, by)                                                            \
    "lsrs r6, " word ", #24\n\tmuls r6, " by ", r6\n\tadd r12, r6\n\t"                 \
    "lsrs r6, " word ", #16\n\tmuls r6, " by ", r6\n\tadd r10, r6\n\t"                 \
    "lsrs r6, " word ", #8\n\tmuls r6, " by ", r6\n\tadd r9, r6\n\t"                   \
    "muls " word ", " by ", " word "\n\tadd r8, " word "\n\t"
#define I_TWO_COLUMNS "ldmia r0!, {r2, r3}\n\tldmia r1!, {r4, r5}\n\t" I_COLUMN("r2", "r4") I_COLUMN("r3", "r5")

/* sum += `columns` columns of four rows, a multiple of eight; returns where the next begin. */
V_INLINE const int8_t *i_dot_all(i_acc *sum, const int8_t *w, const i_x *x, size_t columns)
{
    register const int8_t *from __asm__("r0") = w;
    register const i_x *with __asm__("r1") = x;
    register uint32_t four __asm__("r2") = sum->four, three __asm__("r3") = sum->three;
    register uint32_t two __asm__("r4") = sum->two, one __asm__("r5") = sum->one;
    register const i_x *end __asm__("r6") = x + columns;
    __asm__ volatile(".syntax unified\n\t"
                     "mov r8, r2\n\tmov r9, r3\n\tmov r10, r4\n\tmov r12, r5\n\tmov lr, r6\n"
                     "1:\n\t" I_TWO_COLUMNS I_TWO_COLUMNS I_TWO_COLUMNS I_TWO_COLUMNS
                     "cmp r1, lr\n\tbne 1b\n\t"
                     "mov r2, r8\n\tmov r3, r9\n\tmov r4, r10\n\tmov r5, r12"
                     : "+r"(from), "+r"(with), "+r"(four), "+r"(three), "+r"(two), "+r"(one), "+r"(end)
                     :
                     : "r8", "r9", "r10", "r12", "lr", "cc", "memory");
    *sum = (i_acc){ four, three, two, one };
    return from;
}

V_INLINE void i_store(int32_t *to, i_acc sum)
{
    to[0] = (int32_t)(sum.four - (sum.three << 8));
    to[1] = (int32_t)(sum.three - (sum.two << 8));
    to[2] = (int32_t)(sum.two - (sum.one << 8));
    to[3] = (int32_t)sum.one;
}

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights of a row, each
 * plus 8: of a column in its low half, of the next in its high half. The sum of a group has 16 bits, so that two rows
 * share a word: the first and the third, the second and the fourth. */
typedef struct i_rows { int32_t row0, row1, row2, row3; } i_rows;
typedef struct i_group { uint32_t even, odd; } i_group;

V_INLINE i_rows  i_no_rows(void) { return (i_rows){ 0, 0, 0, 0 }; }
V_INLINE i_group i_begin(int32_t offset) { return (i_group){ (uint32_t)offset * 0x10001, (uint32_t)offset * 0x10001 }; }

/* group += two columns of four rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    const uint32_t mask = 0x000F000F;
    uint32_t word = i_word(w), first = (uint32_t)x[0], second = (uint32_t)x[1];
    group.even += (word & mask) * first + (word >> 4 & mask) * second;
    group.odd += (word >> 8 & mask) * first + (word >> 12 & mask) * second;
    return group;
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const uint8_t *multipliers)
{
    int32_t row0 = (int16_t)group.even, row1 = (int16_t)group.odd;
    rows.row0 += row0 * multipliers[0];
    rows.row1 += row1 * multipliers[1];
    rows.row2 += ((int32_t)(group.even - (uint32_t)row0) >> 16) * multipliers[2];
    rows.row3 += ((int32_t)(group.odd - (uint32_t)row1) >> 16) * multipliers[3];
    return rows;
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows)
{
    to[0] = rows.row0;
    to[1] = rows.row1;
    to[2] = rows.row2;
    to[3] = rows.row3;
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
