/* Vectors of eight float32: AVX2. The attribute lets the file compile without -mavx2. */
#include <immintrin.h>
#include <stdint.h>

#define V_LANES 8
#define V_KERNEL __attribute__((target("avx2")))
#define V_INLINE static inline __attribute__((always_inline, target("avx2")))

typedef __m256 v_f32;

V_INLINE v_f32 v_load(const float *from) { return _mm256_loadu_ps(from); }
V_INLINE void  v_store(float *to, v_f32 a) { _mm256_storeu_ps(to, a); }
V_INLINE v_f32 v_splat(float a) { return _mm256_set1_ps(a); }
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return _mm256_add_ps(a, b); }
V_INLINE v_f32 v_sub(v_f32 a, v_f32 b) { return _mm256_sub_ps(a, b); }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return _mm256_mul_ps(a, b); }
V_INLINE v_f32 v_div(v_f32 a, v_f32 b) { return _mm256_div_ps(a, b); }
V_INLINE v_f32 v_min(v_f32 a, v_f32 b) { return _mm256_min_ps(a, b); }
V_INLINE v_f32 v_max(v_f32 a, v_f32 b) { return _mm256_max_ps(a, b); }

/* a where x >= limit, else 0; also 0 where x is NaN */
V_INLINE v_f32 v_zero_below(v_f32 a, v_f32 x, v_f32 limit)
{
    return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_GE_OQ), a);
}

/* a 2^n for a near 1; n is given plus 1.5 * 2^23, so that the integer n is in the low bits */
V_INLINE v_f32 v_times_pow2(v_f32 a, v_f32 n)
{
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}

/* Integers to floats, rounded to nearest */
V_INLINE v_f32 v_whole(const int32_t *from)
{
    return _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)from));
}

/* Maximum of a vector */
V_INLINE float v_largest(v_f32 a)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* Sum of eight lanes: first lanes four apart are added, then two apart, then one apart */
V_INLINE float v_sum_of_eight(v_f32 a)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

V_INLINE v_f32 v_abs(v_f32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

/* All bits of the first `count` lanes */
V_INLINE __m256i v_lanes_below(size_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The first `count` lanes of a, and the other lanes of b */
V_INLINE v_f32 v_first(v_f32 a, v_f32 b, size_t count)
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(v_lanes_below(count)));
}

/* `count` floats from memory, and zeros in the other lanes */
V_INLINE v_f32 v_load_first(const float *from, size_t count) { return _mm256_maskload_ps(from, v_lanes_below(count)); }

V_INLINE float v_sqrt1(float a) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a))); }
