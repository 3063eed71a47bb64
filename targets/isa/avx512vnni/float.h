/* Vectors of eight float32, and long ones of sixteen: AVX-512, with its 32 registers. The attribute lets the file
 * compile without -mavx512f and the rest. */
#include <immintrin.h>
#include <stdint.h>

#define V_LANES 8
#define L_LANES 16
#define V_FOR    target("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")
#define V_KERNEL __attribute__((V_FOR))
#define V_INLINE static inline __attribute__((always_inline, V_FOR))

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

V_INLINE float v_sqrt1(float a) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a))); }

/* Long vectors */
typedef __m512 l_f32;

V_INLINE l_f32 l_load(const float *from) { return _mm512_loadu_ps(from); }
V_INLINE void  l_store(float *to, l_f32 a) { _mm512_storeu_ps(to, a); }
V_INLINE l_f32 l_splat(float a) { return _mm512_set1_ps(a); }
V_INLINE l_f32 l_add(l_f32 a, l_f32 b) { return _mm512_add_ps(a, b); }
V_INLINE l_f32 l_sub(l_f32 a, l_f32 b) { return _mm512_sub_ps(a, b); }
V_INLINE l_f32 l_mul(l_f32 a, l_f32 b) { return _mm512_mul_ps(a, b); }
V_INLINE l_f32 l_div(l_f32 a, l_f32 b) { return _mm512_div_ps(a, b); }
V_INLINE l_f32 l_min(l_f32 a, l_f32 b) { return _mm512_min_ps(a, b); }
V_INLINE l_f32 l_max(l_f32 a, l_f32 b) { return _mm512_max_ps(a, b); }
V_INLINE l_f32 l_abs(l_f32 a) { return _mm512_abs_ps(a); }

/* a - b c, where the product is exact: a fused operation gives the same bits */
V_INLINE l_f32 l_sub_exact(l_f32 a, l_f32 b, l_f32 c) { return _mm512_fnmadd_ps(b, c, a); }

/* a 2^n for a near 1 and an integer n where x >= limit, else 0; also 0 where x is NaN */
V_INLINE l_f32 l_times_pow2_from(l_f32 a, l_f32 n, l_f32 x, l_f32 limit)
{
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), a, n);
}

/* The eight lanes of each half */
V_INLINE v_f32 l_low(l_f32 a) { return _mm512_castps512_ps256(a); }
V_INLINE v_f32 l_high(l_f32 a) { return _mm512_extractf32x8_ps(a, 1); }

V_INLINE float l_largest(l_f32 a) { return v_largest(v_max(l_low(a), l_high(a))); }

/* A mask of the first `count` lanes */
V_INLINE __mmask16 l_lanes_below(size_t count) { return (__mmask16)((1u << count) - 1); }

/* The first `count` lanes of a, and the other lanes of b */
V_INLINE l_f32 l_first(l_f32 a, l_f32 b, size_t count) { return _mm512_mask_mov_ps(b, l_lanes_below(count), a); }

/* `count` floats from memory, and zeros in the other lanes */
V_INLINE l_f32 l_load_first(const float *from, size_t count)
{
    return _mm512_maskz_loadu_ps(l_lanes_below(count), from);
}

/* Integers to floats, rounded to nearest */
V_INLINE l_f32 l_whole(const int32_t *from) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(from)); }
