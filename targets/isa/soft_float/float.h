/* Vectors of one float32 for processors without a float unit: additions and multiplications are functions. */
#include <stdint.h>

#define V_LANES 1
#define V_KERNEL
#define V_INLINE static inline

typedef float v_f32;

static float soft_add(float a, float b);
static float soft_mul(float a, float b);
static float soft_div(float a, float b);

V_INLINE v_f32 v_load(const float *from) { return *from; }
V_INLINE void  v_store(float *to, v_f32 a) { *to = a; }
V_INLINE v_f32 v_splat(float a) { return a; }
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return soft_add(a, b); }
V_INLINE v_f32 v_sub(v_f32 a, v_f32 b) { return soft_add(a, -b); }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return soft_mul(a, b); }
V_INLINE v_f32 v_div(v_f32 a, v_f32 b) { return soft_div(a, b); }
V_INLINE v_f32 v_min(v_f32 a, v_f32 b) { return a < b ? a : b; }
V_INLINE v_f32 v_max(v_f32 a, v_f32 b) { return a > b ? a : b; }

/* a where x >= limit, else 0; also 0 where x is NaN */
V_INLINE v_f32 v_zero_below(v_f32 a, v_f32 x, v_f32 limit) { return x >= limit ? a : 0.0f; }

/* Maximum of a vector */
V_INLINE float v_largest(v_f32 a) { return a; }

V_INLINE float v_sqrt1(float a) { return __builtin_sqrtf(a); }
