/* Vectors of eight float32: RVV 1.0 of RISC-V, whose compilers make instructions of the vector types of GNU C. A vector
 * takes two registers of 128 bits, or the lower part of larger ones. */
#include <stddef.h>
#include <stdint.h>

#define V_LANES 8
#define V_KERNEL
#define V_INLINE static inline __attribute__((always_inline))

typedef float    v_f32 __attribute__((vector_size(32)));
typedef int32_t  v_i32 __attribute__((vector_size(32)));
typedef uint32_t v_u32 __attribute__((vector_size(32)));

V_INLINE v_f32 v_load(const float *from)
{
    v_f32 a;
    __builtin_memcpy(&a, from, sizeof a);
    return a;
}

V_INLINE void  v_store(float *to, v_f32 a) { __builtin_memcpy(to, &a, sizeof a); }
V_INLINE v_f32 v_splat(float a) { return (v_f32){ a, a, a, a, a, a, a, a }; }
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return a + b; }
V_INLINE v_f32 v_sub(v_f32 a, v_f32 b) { return a - b; }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return a * b; }
V_INLINE v_f32 v_div(v_f32 a, v_f32 b) { return a / b; }

/* a where all bits of `first` are set, b where none is */
V_INLINE v_f32 f32_either(v_i32 first, v_f32 a, v_f32 b) { return (v_f32)((first & (v_i32)a) | (~first & (v_i32)b)); }
V_INLINE v_f32 v_min(v_f32 a, v_f32 b) { return f32_either(a < b, a, b); }
V_INLINE v_f32 v_max(v_f32 a, v_f32 b) { return f32_either(a > b, a, b); }

/* a where x >= limit, else 0; also 0 where x is NaN */
V_INLINE v_f32 v_zero_below(v_f32 a, v_f32 x, v_f32 limit) { return (v_f32)((x >= limit) & (v_i32)a); }

/* a 2^n for a near 1; n is given plus 1.5 * 2^23, so that the integer n is in the low bits */
V_INLINE v_f32 v_times_pow2(v_f32 a, v_f32 n) { return (v_f32)((v_u32)a + ((v_u32)n << 23)); }

/* Integers to floats, rounded to nearest */
V_INLINE v_f32 v_whole(const int32_t *from)
{
    v_i32 a;
    __builtin_memcpy(&a, from, sizeof a);
    return __builtin_convertvector(a, v_f32);
}

/* Maximum of a vector */
V_INLINE float v_largest(v_f32 a)
{
    a = v_max(a, __builtin_shufflevector(a, a, 4, 5, 6, 7, 4, 5, 6, 7));
    a = v_max(a, __builtin_shufflevector(a, a, 2, 3, 2, 3, 2, 3, 2, 3));
    return a[0] > a[1] ? a[0] : a[1];
}

/* The sum of eight lanes: four lanes plus the four others, then two plus two, then one plus one */
V_INLINE float v_sum_of_eight(v_f32 a)
{
    a = v_add(a, __builtin_shufflevector(a, a, 4, 5, 6, 7, 4, 5, 6, 7));
    a = v_add(a, __builtin_shufflevector(a, a, 2, 3, 2, 3, 2, 3, 2, 3));
    return a[0] + a[1];
}

V_INLINE v_f32 v_abs(v_f32 a) { return (v_f32)((v_i32)a & INT32_MAX); }

/* All bits of the first `count` lanes */
V_INLINE v_i32 v_lanes_below(size_t count)
{
    return (v_i32){ 0, 1, 2, 3, 4, 5, 6, 7 } < (int32_t)count;
}

/* The first `count` lanes of a, and the other lanes of b */
V_INLINE v_f32 v_first(v_f32 a, v_f32 b, size_t count) { return f32_either(v_lanes_below(count), a, b); }

/* `count` floats from memory, and zeros in the other lanes */
V_INLINE v_f32 v_load_first(const float *from, size_t count)
{
    v_f32 a = v_splat(0.0f);
    __builtin_memcpy(&a, from, count * sizeof *from);
    return a;
}

V_INLINE float v_sqrt1(float a) { return __builtin_sqrtf(a); }
