/* Vectors of four float32: Advanced SIMD of AArch64. Never vmlaq or vfmaq: a fused product has other bits. */
#include <arm_neon.h>
#include <stdint.h>

#define V_LANES 4
#define V_KERNEL
#define V_INLINE static inline

typedef float32x4_t v_f32;

V_INLINE v_f32 v_load(const float *from) { return vld1q_f32(from); }
V_INLINE void  v_store(float *to, v_f32 a) { vst1q_f32(to, a); }
V_INLINE v_f32 v_splat(float a) { return vdupq_n_f32(a); }
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return vaddq_f32(a, b); }
V_INLINE v_f32 v_sub(v_f32 a, v_f32 b) { return vsubq_f32(a, b); }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return vmulq_f32(a, b); }
V_INLINE v_f32 v_div(v_f32 a, v_f32 b) { return vdivq_f32(a, b); }
V_INLINE v_f32 v_min(v_f32 a, v_f32 b) { return vminq_f32(a, b); }
V_INLINE v_f32 v_max(v_f32 a, v_f32 b) { return vmaxq_f32(a, b); }

/* a where x >= limit, else 0; also 0 where x is NaN */
V_INLINE v_f32 v_zero_below(v_f32 a, v_f32 x, v_f32 limit)
{
    return vreinterpretq_f32_u32(vandq_u32(vcgeq_f32(x, limit), vreinterpretq_u32_f32(a)));
}

/* a 2^n for a near 1; n is given plus 1.5 * 2^23, so that the integer n is in the low bits */
V_INLINE v_f32 v_times_pow2(v_f32 a, v_f32 n)
{
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(a), vshlq_n_u32(vreinterpretq_u32_f32(n), 23)));
}

/* Integers to floats, rounded to nearest */
V_INLINE v_f32 v_whole(const int32_t *from) { return vcvtq_f32_s32(vld1q_s32(from)); }

/* Maximum of a vector */
V_INLINE float v_largest(v_f32 a) { return vmaxvq_f32(a); }

V_INLINE float v_sqrt1(float a) { return __builtin_sqrtf(a); }
