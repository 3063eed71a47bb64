/* Integers for small processors without vectors: a word holds weights of four rows, and three products with it
 * give the sums of all four. */
#include <stddef.h>
#include <stdint.h>

#define I_MIX 4 /* outputs of i_mix */

typedef int8_t i_x; /* an element of a vector */

/* Sums of products with words of four rows' weights: with whole words, with their upper halves, and with their second
 * and fourth bytes, 16 bits apart; all modulo 2^32. The sums of the four rows follow from these. */
typedef struct i_acc { uint32_t all, upper, odd_rows; } i_acc;

/* No instruction, but it fixes the order of instructions. Otherwise compilers load so far ahead that sums do not stay
 * in registers. */
#define I_FENCE(sum) __asm__ volatile("" : "+r"((sum).all), "+r"((sum).upper), "+r"((sum).odd_rows) : : "memory")

/* Four bytes; the address is a multiple of four. */
V_INLINE uint32_t i_word(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
    return word;
}

/* An element as words are multiplied by it */
typedef uint32_t i_by;
V_INLINE i_by i_by_of(i_x x) { return (uint32_t)x; }

/* sum += a column of four rows */
V_INLINE i_acc i_dot(i_acc sum, uint32_t word, i_by by)
{
    sum.all += word * by;
    sum.upper += (word >> 16) * by;
    sum.odd_rows += (word >> 8 & 0x00FF00FF) * by;
    I_FENCE(sum);
    return sum;
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
