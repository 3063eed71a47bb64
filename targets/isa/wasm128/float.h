/* Vectors of four float32: WebAssembly's 128-bit SIMD, without the relaxed instructions, whose results may vary. */
#include <wasm_simd128.h>
#include <stdint.h>

#define V_LANES 4
#define V_KERNEL
#define V_INLINE static inline

typedef v128_t v_f32;

V_INLINE v_f32 v_load(const float *from) { return wasm_v128_load(from); }
V_INLINE void  v_store(float *to, v_f32 a) { wasm_v128_store(to, a); }
V_INLINE v_f32 v_splat(float a) { return wasm_f32x4_splat(a); }
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return wasm_f32x4_add(a, b); }
V_INLINE v_f32 v_sub(v_f32 a, v_f32 b) { return wasm_f32x4_sub(a, b); }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return wasm_f32x4_mul(a, b); }
V_INLINE v_f32 v_div(v_f32 a, v_f32 b) { return wasm_f32x4_div(a, b); }
V_INLINE v_f32 v_min(v_f32 a, v_f32 b) { return wasm_f32x4_min(a, b); }
V_INLINE v_f32 v_max(v_f32 a, v_f32 b) { return wasm_f32x4_max(a, b); }

/* a where x >= limit, else 0; also 0 where x is NaN */
V_INLINE v_f32 v_zero_below(v_f32 a, v_f32 x, v_f32 limit) { return wasm_v128_and(wasm_f32x4_ge(x, limit), a); }

/* a 2^n for a near 1; n is given plus 1.5 * 2^23, so that the integer n is in the low bits */
V_INLINE v_f32 v_times_pow2(v_f32 a, v_f32 n) { return wasm_i32x4_add(a, wasm_i32x4_shl(n, 23)); }

/* Integers to floats, rounded to nearest */
V_INLINE v_f32 v_whole(const int32_t *from) { return wasm_f32x4_convert_i32x4(wasm_v128_load(from)); }

/* Maximum of a vector */
V_INLINE float v_largest(v_f32 a)
{
    a = wasm_f32x4_max(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
    return wasm_f32x4_extract_lane(wasm_f32x4_max(a, wasm_i32x4_shuffle(a, a, 1, 0, 3, 2)), 0);
}

V_INLINE float v_sqrt1(float a) { return __builtin_sqrtf(a); }
