/* Vectors of floats, by the vector extension of GCC and Clang, for any processor. */
#ifndef LLGEN_VECTOR_H
#define LLGEN_VECTOR_H

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8 /* two registers on processors with vectors of four lanes */
#endif

#define VECTOR(lanes) __attribute__((vector_size((lanes) * 4), aligned(4), may_alias))
typedef float v_f32 VECTOR(LANES);
typedef int32_t v_i32 VECTOR(LANES);

#define INLINE static inline __attribute__((always_inline))

/* `a` in the lanes where `mask` is all ones, 0 in the lanes where it is 0. */
INLINE v_f32 where(v_i32 mask, v_f32 a) { return (v_f32)(mask & (v_i32)a); }

INLINE v_f32 either(v_i32 mask, v_f32 a, v_f32 b) { return (v_f32)((mask & (v_i32)a) | (~mask & (v_i32)b)); }

INLINE v_f32 larger(v_f32 a, v_f32 b) { return either(a > b, a, b); }

INLINE v_f32 splat(float a) { return (v_f32){ 0 } + a; }

/* Loads LANES numbers from `from`, or `count` numbers if there are fewer; the other lanes are `fill`. */
INLINE v_f32 load(const float *from, size_t count, float fill)
{
    if (count >= LANES)
        return *(const v_f32 *)from;
    v_f32 a = splat(fill);
    for (size_t i = 0; i < count; i++)
        a[i] = from[i];
    return a;
}

INLINE void store(float *to, size_t count, v_f32 a)
{
    if (count >= LANES)
        *(v_f32 *)to = a;
    else
        for (size_t i = 0; i < count; i++)
            to[i] = a[i];
}

INLINE float sum_of(v_f32 a)
{
    float sum = 0.0f;
    for (size_t i = 0; i < LANES; i++)
        sum += a[i];
    return sum;
}

INLINE float largest_of(v_f32 a)
{
    float top = a[0];
    for (size_t i = 1; i < LANES; i++)
        top = a[i] > top ? a[i] : top;
    return top;
}

/* e^x; 0 below -64, e^64 above 64. The polynomial is that of the generated code (doc/numerics.md). */
INLINE v_f32 exponential(v_f32 x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    v_f32 clamped = either(x < 64.0f, x, splat(64.0f));
    v_f32 shifted = clamped * 1.44269502f + round;
    v_f32 n = shifted - round;
    v_f32 r = clamped - n * 0.693359375f + n * 0.000212194442f;
    v_f32 p = r * 0.00138145243f + 0.00836874731f;
    p = p * r + 0.0416683927f;
    p = p * r + 0.166665196f;
    p = p * r + 0.49999994f;
    p = p * (r * r) + r + 1.0f;
    v_i32 power = (v_i32)shifted << 23;
    return where(x > -64.0f, (v_f32)((v_i32)p + power));
}

#endif
