/* Integers in vectors of 16 bytes: WebAssembly, which multiplies 16 bits at least; weights are widened first. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 4 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int16_t i_x;                        /* an element of a vector */
typedef struct i_acc { v128_t low, high; } i_acc; /* two partial sums of each of I_ROWS rows */

V_INLINE i_acc i_zero(void) { return (i_acc){ wasm_i32x4_splat(0), wasm_i32x4_splat(0) }; }

/* sum += four columns of four rows */
V_INLINE i_acc i_quad(i_acc sum, const int8_t *w, const i_x *x)
{
    v128_t weights = wasm_v128_load(w), four = wasm_v128_load64_splat(x);
    sum.low = wasm_i32x4_add(sum.low, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(weights), four));
    sum.high = wasm_i32x4_add(sum.high, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(weights), four));
    return sum;
}

/* sum += eight columns of four rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    return i_quad(i_quad(sum, w, x), w + next, x + 4);
}

V_INLINE void i_store(int32_t *to, i_acc sum)
{
    v128_t even_sums = wasm_i32x4_shuffle(sum.low, sum.high, 0, 2, 4, 6);
    v128_t odd_sums = wasm_i32x4_shuffle(sum.low, sum.high, 1, 3, 5, 7);
    wasm_v128_store(to, wasm_i32x4_add(even_sums, odd_sums));
}

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first four columns in its low half, one of the next four in its high half. */
typedef v128_t i_rows;
typedef struct i_group { i_acc sum; v128_t offset; } i_group;

V_INLINE i_rows  i_no_rows(void) { return wasm_i32x4_splat(0); }
V_INLINE i_group i_begin(int32_t offset) { return (i_group){ i_zero(), wasm_i32x4_splat(offset) }; }

/* sum += four columns of four rows of 4-bit weights, which have no sign */
V_INLINE i_acc i_half(i_acc sum, v128_t weights, const i_x *x)
{
    v128_t four = wasm_v128_load64_splat(x);
    sum.low = wasm_i32x4_add(sum.low, wasm_i32x4_dot_i16x8(wasm_u16x8_extend_low_u8x16(weights), four));
    sum.high = wasm_i32x4_add(sum.high, wasm_i32x4_dot_i16x8(wasm_u16x8_extend_high_u8x16(weights), four));
    return sum;
}

/* group += eight columns of four rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    v128_t pairs = wasm_v128_load(w);
    group.sum = i_half(group.sum, wasm_v128_and(pairs, wasm_i8x16_splat(15)), x);
    group.sum = i_half(group.sum, wasm_u8x16_shr(pairs, 4), x + 4);
    return group;
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    v128_t even_sums = wasm_i32x4_shuffle(group.sum.low, group.sum.high, 0, 2, 4, 6);
    v128_t odd_sums = wasm_i32x4_shuffle(group.sum.low, group.sum.high, 1, 3, 5, 7);
    v128_t sum = wasm_i32x4_add(wasm_i32x4_add(even_sums, odd_sums), group.offset);
    v128_t times = wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(multipliers)));
    return wasm_i32x4_add(rows, wasm_i32x4_mul(sum, times));
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { wasm_v128_store(to, rows); }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    v128_t sum = wasm_i32x4_splat(0);
    for (size_t i = 0; i < pairs; i++, values += next) {
        int32_t pair;
        __builtin_memcpy(&pair, weights + 2 * i, sizeof pair);
        sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(values), wasm_i32x4_splat(pair)));
    }
    wasm_v128_store(sums, sum);
}
