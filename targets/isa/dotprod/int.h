/* Integers in vectors of 16 bytes: the dot product of ARMv8.2, which adds four products of bytes to 32 bits. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 4 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int8_t    i_x;   /* an element of a vector */
typedef int32x4_t i_acc; /* sums of I_ROWS rows */

V_INLINE i_acc i_zero(void) { return vdupq_n_s32(0); }

/* The same four bytes in all lanes */
V_INLINE int32x2_t i_four(const void *from)
{
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return vdup_n_s32(four);
}

/* sum += eight columns of four rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    int8x8_t eight = vld1_s8(x);
    return vdotq_lane_s32(vdotq_lane_s32(sum, vld1q_s8(w), eight, 0), vld1q_s8(w + next), eight, 1);
}

V_INLINE void i_store(int32_t *to, i_acc sum) { vst1q_s32(to, sum); }

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first four columns in its low half, one of the next four in its high half. */
typedef int32x4_t i_rows;
typedef int32x4_t i_group;

V_INLINE i_rows  i_no_rows(void) { return vdupq_n_s32(0); }
V_INLINE i_group i_begin(int32_t offset) { return vdupq_n_s32(offset); }

/* group += eight columns of four rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    uint8x16_t pairs = vreinterpretq_u8_s8(vld1q_s8(w));
    int8x16_t low = vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15)));
    int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(pairs, 4));
    int8x8_t eight = vld1_s8(x);
    return vdotq_lane_s32(vdotq_lane_s32(group, low, eight, 0), high, eight, 1);
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    int16x8_t times = vmovl_s8(vreinterpret_s8_s32(i_four(multipliers)));
    return vmlaq_s32(rows, group, vmovl_s16(vget_low_s16(times)));
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { vst1q_s32(to, rows); }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(0);
    for (size_t i = 0; i < pairs; i++, values += next) {
        int16x8_t both = vmovl_s8(vld1_s8(values));
        int16x4_t pair = vreinterpret_s16_s32(i_four(weights + 2 * i));
        low = vmlal_s16(low, vget_low_s16(both), pair);
        high = vmlal_s16(high, vget_high_s16(both), pair);
    }
    vst1q_s32(sums, vpaddq_s32(low, high));
}
