/* Integers in halves of a register: the DSP extension of Cortex-M4, M7 and M33. SMLAD adds two products of 16 bits
 * to a sum; SXTB16 makes two such numbers of the first and the third byte of a word. */
#include <arm_acle.h>
#include <stddef.h>
#include <stdint.h>

#define I_MIX 8 /* outputs of i_mix */

typedef int16_t i_x; /* an element of a vector */

/* Four bytes, or two numbers of 16 bits; the address is a multiple of four. */
V_INLINE int32_t i_word(const void *from)
{
    int32_t word;
    __builtin_memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
    return word;
}

/* Sums of two rows: of the first, and of the first plus 256 times the second. */
typedef struct i_two { int32_t first, both; } i_two;

/* sum += two columns of two rows. The halves of the word are the first row's weights plus 256 times the second's. */
V_INLINE i_two i_dot_two(i_two sum, int32_t word, int32_t pair)
{
    sum.both = __smlad(word, pair, sum.both);
    sum.first = __smlad(__sxtb16(word), pair, sum.first);
    return sum;
}

V_INLINE int32_t i_second(i_two sum) { return (sum.both - sum.first) >> 8; }

/* The sums of a block's four rows, by pairs of them */
typedef struct i_sums { i_two low, high; } i_sums;

/* Four words of weights and two of the vector; both pointers advance. Compilers do not combine loads of several
 * registers, and load so far ahead that sums are moved to the stack; hence assembly. */
typedef struct i_loaded { int32_t word0, word1, word2, word3, pair0, pair1; } i_loaded;

V_INLINE i_loaded i_load(const int8_t **w, const i_x **x)
{
    const int8_t *from = *w;
    const i_x *with = *x;
    register int32_t word0 __asm__("r2"), word1 __asm__("r3"), word2 __asm__("r4"), word3 __asm__("r5");
    register int32_t pair0 __asm__("r6"), pair1 __asm__("r8");
    __asm__ volatile("ldmia %0!, {%2, %3, %4, %5}\n\tldmia %1!, {%6, %7}"
                     : "+r"(from), "+r"(with), "=r"(word0), "=r"(word1), "=r"(word2), "=r"(word3),
                       "=r"(pair0), "=r"(pair1)
                     :
                     : "memory");
    *w = from;
    *x = with;
    return (i_loaded){ word0, word1, word2, word3, pair0, pair1 };
}

/* sums += four columns of four rows; both pointers advance. */
V_INLINE i_sums i_quad(i_sums sums, const int8_t **w, const i_x **x)
{
    i_loaded l = i_load(w, x);
    sums.low = i_dot_two(sums.low, l.word0, l.pair0);
    sums.high = i_dot_two(sums.high, l.word1, l.pair0);
    sums.low = i_dot_two(sums.low, l.word2, l.pair1);
    sums.high = i_dot_two(sums.high, l.word3, l.pair1);
    return sums;
}

/* The second and the fourth byte, as 16 bits each; SXTB16 rotates its operand at no cost. */
V_INLINE int32_t i_odd(int32_t bytes)
{
    uint32_t word = (uint32_t)bytes;
    return __sxtb16((int32_t)(word >> 8 | word << 24));
}

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair. A word is two
 * elements of one position, then of the next. */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0, sum4 = 0, sum5 = 0, sum6 = 0, sum7 = 0;
#pragma GCC unroll 1
    for (const int16_t *end = weights + 2 * pairs; weights < end; weights += 2, values += next) {
        int32_t pair = i_word(weights), first = i_word(values), second = i_word(values + 4);
        sum0 = __smlad(__sxtb16(first), pair, sum0);
        sum1 = __smlad(i_odd(first), pair, sum1);
        sum2 = __smlad(__sxtb16(second), pair, sum2);
        sum3 = __smlad(i_odd(second), pair, sum3);
        first = i_word(values + 8);
        second = i_word(values + 12);
        sum4 = __smlad(__sxtb16(first), pair, sum4);
        sum5 = __smlad(i_odd(first), pair, sum5);
        sum6 = __smlad(__sxtb16(second), pair, sum6);
        sum7 = __smlad(i_odd(second), pair, sum7);
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
    sums[4] = sum4;
    sums[5] = sum5;
    sums[6] = sum6;
    sums[7] = sum7;
}
