/* RMSNorm, SwiGLU and cross-entropy with their gradients, each in one pass over its rows. A call computes the rows
 * from `first` to `end`. */
#include "vector.h"

/* out = x * inverse * gain for rows [size] of x; inverse is 1 / (root mean square) of each row. */
void rms_norm(const float *x, const float *gain, float eps, float *out, float *inverse, size_t size, size_t first,
              size_t end)
{
    for (size_t row = first; row < end; row++) {
        const float *in = x + row * size;
        v_f32 squares = splat(0.0f);
        for (size_t i = 0; i < size; i += LANES) {
            v_f32 a = load(in + i, size - i, 0.0f);
            squares += a * a;
        }
        float own = 1.0f / __builtin_sqrtf(sum_of(squares) / (float)size + eps);
        inverse[row] = own;
        for (size_t i = 0; i < size; i += LANES)
            store(out + row * size + i, size - i, load(in + i, size - i, 0.0f) * own * load(gain + i, size - i, 0.0f));
    }
}

/* The gradient of x; the gradient of the gain is added to gain_gradient [size]. */
void rms_norm_backward(const float *x, const float *gain, const float *inverse, const float *out_gradient,
                       float *x_gradient, float *gain_gradient, size_t size, size_t first, size_t end)
{
    for (size_t row = first; row < end; row++) {
        const float *in = x + row * size, *from = out_gradient + row * size;
        v_f32 along = splat(0.0f); /* the component of the gradient along x */
        float own = inverse[row];
        for (size_t i = 0; i < size; i += LANES) {
            v_f32 a = load(in + i, size - i, 0.0f), g = load(from + i, size - i, 0.0f);
            along += a * g * load(gain + i, size - i, 0.0f);
            store(gain_gradient + i, size - i, load(gain_gradient + i, size - i, 0.0f) + a * g * own);
        }
        float share = sum_of(along) * own * own / (float)size;
        for (size_t i = 0; i < size; i += LANES) {
            v_f32 a = load(in + i, size - i, 0.0f), g = load(from + i, size - i, 0.0f);
            store(x_gradient + row * size + i, size - i, (g * load(gain + i, size - i, 0.0f) - a * share) * own);
        }
    }
}

/* out = silu(gate) * up; each row is one number. */
void swiglu(const float *gate, const float *up, float *out, size_t first, size_t end)
{
    for (size_t i = first; i < end; i += LANES) {
        v_f32 g = load(gate + i, end - i, 0.0f);
        store(out + i, end - i, g / (1.0f + exponential(-g)) * load(up + i, end - i, 0.0f));
    }
}

void swiglu_backward(const float *gate, const float *up, const float *out_gradient, float *gate_gradient,
                     float *up_gradient, size_t first, size_t end)
{
    for (size_t i = first; i < end; i += LANES) {
        v_f32 g = load(gate + i, end - i, 0.0f), from = load(out_gradient + i, end - i, 0.0f);
        v_f32 sigmoid = 1.0f / (1.0f + exponential(-g));
        store(up_gradient + i, end - i, from * g * sigmoid);
        store(gate_gradient + i, end - i,
              from * load(up + i, end - i, 0.0f) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
    }
}

/* For each row of logits [classes]: kept [2], the maximum and 1 / (sum of exp(logit - maximum)); and odds, the logit of
 * the target minus the maximum. The loss of a row is -(odds + log(kept[1])). */
void cross_entropy(const float *logits, const int64_t *targets, float *kept, float *odds, size_t classes, size_t first,
                   size_t end)
{
    for (size_t row = first; row < end; row++) {
        const float *in = logits + row * classes;
        v_f32 most = splat(-1e30f), sum = splat(0.0f);
        for (size_t i = 0; i < classes; i += LANES)
            most = larger(most, load(in + i, classes - i, -1e30f));
        float top = largest_of(most);
        for (size_t i = 0; i < classes; i += LANES)
            sum += exponential(load(in + i, classes - i, -1e30f) - top);
        kept[2 * row] = top;
        kept[2 * row + 1] = 1.0f / sum_of(sum);
        odds[row] = in[targets[row]] - top;
    }
}

/* The gradient of the logits; `scale` is the gradient of each row's loss. */
void cross_entropy_backward(const float *logits, const int64_t *targets, const float *kept, float scale,
                            float *logits_gradient, size_t classes, size_t first, size_t end)
{
    for (size_t row = first; row < end; row++) {
        const float *in = logits + row * classes;
        float *to = logits_gradient + row * classes, top = kept[2 * row], each = kept[2 * row + 1] * scale;
        for (size_t i = 0; i < classes; i += LANES)
            store(to + i, classes - i, exponential(load(in + i, classes - i, -1e30f) - top) * each);
        to[targets[row]] -= scale;
    }
}
