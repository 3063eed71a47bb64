/* Vectors of four float32: SSE2, which every x86-64 has. */
#include <emmintrin.h>
#include <stdint.h>

#define V_LANES 4
#define V_KERNEL
#define V_INLINE static inline

typedef __m128 v_f32;

V_INLINE v_f32 v_load(const float *from) { return _mm_loadu_ps(from); }
V_INLINE void  v_store(float *to, v_f32 a) { _mm_storeu_ps(to, a); }
V_INLINE v_f32 v_splat(float a) { return _mm_set1_ps(a); }
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return _mm_add_ps(a, b); }
V_INLINE v_f32 v_sub(v_f32 a, v_f32 b) { return _mm_sub_ps(a, b); }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return _mm_mul_ps(a, b); }
V_INLINE v_f32 v_div(v_f32 a, v_f32 b) { return _mm_div_ps(a, b); }
V_INLINE v_f32 v_min(v_f32 a, v_f32 b) { return _mm_min_ps(a, b); }
V_INLINE v_f32 v_max(v_f32 a, v_f32 b) { return _mm_max_ps(a, b); }

/* a where x >= limit, else 0; also 0 where x is NaN */
V_INLINE v_f32 v_zero_below(v_f32 a, v_f32 x, v_f32 limit) { return _mm_and_ps(_mm_cmpge_ps(x, limit), a); }

/* a 2^n for a near 1; n is given plus 1.5 * 2^23, so that the integer n is in the low bits */
V_INLINE v_f32 v_times_pow2(v_f32 a, v_f32 n)
{
    return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), _mm_slli_epi32(_mm_castps_si128(n), 23)));
}

/* Integers to floats, rounded to nearest */
V_INLINE v_f32 v_whole(const int32_t *from)
{
    return _mm_cvtepi32_ps(_mm_loadu_si128((const __m128i *)(const void *)from));
}

/* Maximum of a vector */
V_INLINE float v_largest(v_f32 a)
{
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps(a, a, 1)));
}

V_INLINE float v_sqrt1(float a) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a))); }
