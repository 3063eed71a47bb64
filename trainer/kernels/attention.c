/* Causal attention with rotary positions, and its gradient, for heads of HEAD_DIM elements.
 *
 * Queries are processed in tiles, so that each key and value is loaded once for several queries; keys that a tile must
 * not see are skipped. Scores are stored for one tile at a time. The gradient computes them again from two numbers that
 * the forward pass keeps for each query: the maximum score and the sum of exponentials (Dao et al., 2022,
 * arXiv:2205.14135).
 *
 * B batch, T time, H query heads, G key/value heads. A unit is a key/value head of a sequence with the query heads that
 * share it. Units are independent; a call computes the units from `first` to `end` of B * G. The distance between two
 * positions is `step` floats for a query head and `kv_step` for a key/value head; `stride` is T rounded up to whole
 * vectors. */
#include "vector.h"

#if defined(__AVX512F__) || defined(__aarch64__)
#define TILE 8 /* queries at a time: as many as fit into 32 registers with the rest */
#else
#define TILE 4
#endif

/* Elements of a head that are summed in one register. */
#if HEAD_DIM % LANES == 0
#define PART LANES
#elif HEAD_DIM % 8 == 0
#define PART 8
#elif HEAD_DIM % 4 == 0
#define PART 4
#else
#define PART 2
#endif
typedef float v_part VECTOR(PART);

INLINE size_t whole_vectors(size_t count) { return (count + LANES - 1) / LANES * LANES; }

/* out [HEAD_DIM] = `scale` times the elements of a head, rotated by the angles of its position; rotated back if `back`
 * is -1. */
INLINE void rotate(float *out, const float *in, const float *cosine, const float *sine, float back, float scale)
{
    for (size_t i = 0; i < HEAD_DIM / 2; i++) {
        float low = in[i], high = in[i + HEAD_DIM / 2], turn = back * sine[i];
        out[i] = scale * (low * cosine[i] - high * turn);
        out[i + HEAD_DIM / 2] = scale * (low * turn + high * cosine[i]);
    }
}

/* Transposes: across [HEAD_DIM][stride] = rows [time][HEAD_DIM] at a distance of `step`; zeros after the last row. */
static void transpose(float *across, size_t stride, const float *rows, size_t step, size_t time)
{
    for (size_t t = 0; t < time; t++)
        for (size_t i = 0; i < HEAD_DIM; i++)
            across[i * stride + t] = rows[t * step + i];
    for (size_t i = 0; i < HEAD_DIM; i++)
        for (size_t t = time; t < stride; t++)
            across[i * stride + t] = 0.0f;
}

/* Products of the rows of a tile with LANES columns of a transposed matrix. */
INLINE void products(v_f32 *out, float (*tile)[HEAD_DIM], const float *across, size_t stride)
{
    for (size_t q = 0; q < TILE; q++)
        out[q] = splat(0.0f);
    for (size_t i = 0; i < HEAD_DIM; i++) {
        v_f32 column = load(across + i * stride, LANES, 0.0f);
        for (size_t q = 0; q < TILE; q++)
            out[q] += tile[q][i] * column;
    }
}

/* Mask of the LANES keys from `key` on that a query may see. */
INLINE v_i32 visible(size_t key, size_t query)
{
    v_i32 lane;
    for (int32_t i = 0; i < LANES; i++)
        lane[i] = i;
    return lane + (int32_t)key <= (int32_t)query;
}

/* out [TILE][HEAD_DIM] = weights [TILE][stride] times rows [count][HEAD_DIM] at a distance of `step`. */
INLINE void weigh(float (*out)[HEAD_DIM], const float *weights, size_t stride, const float *rows, size_t step,
                  size_t count)
{
    for (size_t part = 0; part < HEAD_DIM; part += PART) {
        v_part sum[TILE];
        for (size_t q = 0; q < TILE; q++)
            sum[q] = (v_part){ 0 };
        for (size_t t = 0; t < count; t++) {
            v_part row = *(const v_part *)(rows + t * step + part);
            for (size_t q = 0; q < TILE; q++)
                sum[q] += weights[q * stride + t] * row;
        }
        for (size_t q = 0; q < TILE; q++)
            *(v_part *)(out[q] + part) = sum[q];
    }
}

typedef struct shape {
    const float *cosine, *sine; /* [T][HEAD_DIM / 2] */
    size_t time, stride, step, kv_step, group;
    float scale;
} shape;

INLINE shape shape_of(const float *cosine, const float *sine, size_t time, size_t heads, size_t kv_heads, float scale)
{
    return (shape){ cosine, sine, time, whole_vectors(time), heads * HEAD_DIM, kv_heads * HEAD_DIM, heads / kv_heads,
                    scale };
}

INLINE void turn(const shape *is, float *out, const float *in, size_t t, float back, float scale)
{
    rotate(out, in, is->cosine + t * (HEAD_DIM / 2), is->sine + t * (HEAD_DIM / 2), back, scale);
}

/* The queries of a tile, rotated and scaled; zeros after the last query. */
INLINE void turned_queries(const shape *is, float (*tile)[HEAD_DIM], const float *q, size_t first)
{
    for (size_t i = 0; i < TILE; i++) {
        size_t t = first + i < is->time ? first + i : is->time - 1;
        turn(is, tile[i], q + t * is->step, t, 1.0f, first + i < is->time ? is->scale : 0.0f);
    }
}

/* The keys of a head, rotated: rows [T][HEAD_DIM], and across [HEAD_DIM][stride]. */
static void turned_keys(const shape *is, float *rows, float *across, const float *k)
{
    for (size_t t = 0; t < is->time; t++)
        turn(is, rows + t * HEAD_DIM, k + t * is->kv_step, t, 1.0f, 1.0f);
    transpose(across, is->stride, rows, HEAD_DIM, is->time);
}

/* Scores [TILE][stride] of a tile for `count` keys, and the maximum score of each query. */
INLINE void scores_of(const shape *is, float *scores, float *most, float (*tile)[HEAD_DIM], const float *keys,
                      size_t first, size_t count)
{
    v_f32 top[TILE], score[TILE];
    for (size_t i = 0; i < TILE; i++)
        top[i] = splat(-1e30f);
    for (size_t key = 0; key < count; key += LANES) {
        products(score, tile, keys + key, is->stride);
        for (size_t i = 0; i < TILE; i++) {
            if (key + LANES > first)
                score[i] = either(visible(key, first + i), score[i], splat(-1e30f));
            top[i] = larger(top[i], score[i]);
            store(scores + i * is->stride + key, LANES, score[i]);
        }
    }
    for (size_t i = 0; i < TILE; i++)
        most[i] = largest_of(top[i]);
}

/* Replaces scores by exp(score - top); returns 1 / (their sum). */
INLINE float soften(float *scores, float top, size_t count)
{
    v_f32 sum = splat(0.0f);
    for (size_t key = 0; key < count; key += LANES) {
        v_f32 odds = exponential(load(scores + key, LANES, 0.0f) - top);
        sum += odds;
        store(scores + key, LANES, odds);
    }
    return 1.0f / sum_of(sum);
}

static void attend(const shape *is, const float *q, const float *keys, const float *v, float *out, float *kept,
                   float *scores)
{
    for (size_t first = 0; first < is->time; first += TILE) {
        float tile[TILE][HEAD_DIM], most[TILE], inverse[TILE];
        size_t count = first + TILE < is->time ? first + TILE : is->time;
        turned_queries(is, tile, q, first);
        scores_of(is, scores, most, tile, keys, first, count);
        for (size_t i = 0; i < TILE; i++)
            inverse[i] = soften(scores + i * is->stride, most[i], count);
        weigh(tile, scores, is->stride, v, is->kv_step, count);
        for (size_t i = 0; i < TILE && first + i < is->time; i++) {
            kept[2 * (first + i)] = most[i];
            kept[2 * (first + i) + 1] = inverse[i];
            for (size_t e = 0; e < HEAD_DIM; e++)
                out[(first + i) * is->step + e] = tile[i][e] * inverse[i];
        }
    }
}

/* Floats of working memory that one call needs. */
size_t attention_scratch(size_t time) { return (5 * HEAD_DIM + TILE) * whole_vectors(time); }

/* out [B][T][H][HEAD_DIM] and, for the gradient, kept [B][H][T][2]: the maximum score of a query, and 1 / (sum of its
 * exponentials). q is [B][T][H][HEAD_DIM], k and v are [B][T][G][HEAD_DIM]. */
void attention(const float *q, const float *k, const float *v, const float *cosine, const float *sine, float *out,
               float *kept, float *scratch, size_t time, size_t heads, size_t kv_heads, float scale, size_t first,
               size_t end)
{
    const shape is = shape_of(cosine, sine, time, heads, kv_heads, scale);
    float *rows = scratch, *keys = rows + HEAD_DIM * is.stride, *scores = keys + HEAD_DIM * is.stride;
    for (size_t unit = first; unit < end; unit++) {
        size_t sequence = unit / kv_heads, kv_head = unit % kv_heads;
        size_t own = sequence * time * is.kv_step + kv_head * HEAD_DIM;
        turned_keys(&is, rows, keys, k + own);
        for (size_t head = kv_head * is.group; head < (kv_head + 1) * is.group; head++) {
            size_t place = sequence * time * is.step + head * HEAD_DIM;
            attend(&is, q + place, keys, v + own, out + place, kept + (sequence * heads + head) * time * 2, scores);
        }
    }
}

/* Working memory for the gradient of a unit: each [HEAD_DIM][stride], except rows [T][HEAD_DIM] and to_scores. */
typedef struct unit_memory {
    float *rows, *keys, *values;  /* keys as rows, and across; values across */
    float *to_keys, *to_values;   /* their gradients, before those of keys are rotated back */
    float *to_scores;             /* [TILE][stride], of one tile */
} unit_memory;

/* Adds a tile's part to the gradients of the keys and values it sees; writes to_scores for its queries' gradients. */
INLINE void spread(const shape *is, const unit_memory *at, float (*tile)[HEAD_DIM], float (*wanted)[HEAD_DIM],
                   const float *top, const float *inverse, const float *mean, size_t first, size_t count)
{
    for (size_t key = 0; key < count; key += LANES) {
        v_f32 share[TILE], change[TILE];
        products(share, tile, at->keys + key, is->stride);
        products(change, wanted, at->values + key, is->stride);
        for (size_t i = 0; i < TILE; i++) {
            share[i] = exponential(share[i] - top[i]) * inverse[i];
            if (key + LANES > first)
                share[i] = where(visible(key, first + i), share[i]);
            change[i] = share[i] * (change[i] - mean[i]);
            store(at->to_scores + i * is->stride + key, LANES, change[i]);
        }
        for (size_t e = 0; e < HEAD_DIM; e++) {
            float *to_keys = at->to_keys + e * is->stride + key, *to_values = at->to_values + e * is->stride + key;
            v_f32 to_key = load(to_keys, LANES, 0.0f), to_value = load(to_values, LANES, 0.0f);
            for (size_t i = 0; i < TILE; i++) {
                to_key += tile[i][e] * change[i];
                to_value += wanted[i][e] * share[i];
            }
            store(to_keys, LANES, to_key);
            store(to_values, LANES, to_value);
        }
    }
}

static void attend_backward(const shape *is, const unit_memory *at, const float *q, const float *out,
                            const float *kept, const float *out_gradient, float *q_gradient)
{
    for (size_t first = 0; first < is->time; first += TILE) {
        float tile[TILE][HEAD_DIM], wanted[TILE][HEAD_DIM], top[TILE], inverse[TILE], mean[TILE];
        size_t count = first + TILE < is->time ? first + TILE : is->time;
        turned_queries(is, tile, q, first);
        for (size_t i = 0; i < TILE; i++) {
            int exists = first + i < is->time;
            size_t t = exists ? first + i : is->time - 1;
            mean[i] = 0.0f;
            for (size_t e = 0; e < HEAD_DIM; e++) {
                wanted[i][e] = exists ? out_gradient[t * is->step + e] : 0.0f;
                mean[i] += wanted[i][e] * out[t * is->step + e];
            }
            top[i] = kept[2 * t];
            inverse[i] = exists ? kept[2 * t + 1] : 0.0f;
        }
        spread(is, at, tile, wanted, top, inverse, mean, first, count);
        weigh(tile, at->to_scores, is->stride, at->rows, HEAD_DIM, count);
        for (size_t i = 0; i < TILE && first + i < is->time; i++)
            turn(is, q_gradient + (first + i) * is->step, tile[i], first + i, -1.0f, is->scale);
    }
}

/* Gradients of q, k and v, in their shapes, from the gradient of `out`; other arguments are those of `attention`. */
void attention_backward(const float *q, const float *k, const float *v, const float *cosine, const float *sine,
                        const float *out, const float *kept, const float *out_gradient, float *q_gradient,
                        float *k_gradient, float *v_gradient, float *scratch, size_t time, size_t heads,
                        size_t kv_heads, float scale, size_t first, size_t end)
{
    const shape is = shape_of(cosine, sine, time, heads, kv_heads, scale);
    const size_t size = HEAD_DIM * is.stride;
    const unit_memory at = { scratch,            scratch + size,     scratch + 2 * size,
                             scratch + 3 * size, scratch + 4 * size, scratch + 5 * size };
    for (size_t unit = first; unit < end; unit++) {
        size_t sequence = unit / kv_heads, kv_head = unit % kv_heads;
        size_t own = sequence * time * is.kv_step + kv_head * HEAD_DIM;
        turned_keys(&is, at.rows, at.keys, k + own);
        transpose(at.values, is.stride, v + own, is.kv_step, time);
        for (size_t i = 0; i < size; i++)
            at.to_keys[i] = at.to_values[i] = 0.0f;
        for (size_t head = kv_head * is.group; head < (kv_head + 1) * is.group; head++) {
            size_t place = sequence * time * is.step + head * HEAD_DIM;
            attend_backward(&is, &at, q + place, out + place, kept + (sequence * heads + head) * time * 2,
                            out_gradient + place, q_gradient + place);
        }
        for (size_t t = 0; t < time; t++) {
            float key[HEAD_DIM];
            for (size_t e = 0; e < HEAD_DIM; e++) {
                key[e] = at.to_keys[e * is.stride + t];
                v_gradient[own + t * is.kv_step + e] = at.to_values[e * is.stride + t];
            }
            turn(&is, k_gradient + own + t * is.kv_step, key, t, -1.0f, 1.0f);
        }
    }
}
