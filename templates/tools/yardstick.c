/* A plain decoder of Llama models in float32, which `llgen bench` measures others by.
 *
 * It is what one writes without thinking of speed: sizes known at run time, matrices row by row, a dot product a row,
 * one position at a time. The compiler may reassociate (-Ofast), and makes good use of it where rows are long.
 *
 *   yardstick WEIGHTS decode N REPEATS     decode N positions greedily; report the time of each of the REPEATS
 *   yardstick WEIGHTS logits TOKEN...      write the logits of each position to standard output, float32
 *
 * WEIGHTS: the numbers of `size`, int32, and of `constant`, float32, then the tensors in the order in which `read_model`
 * reads them, float32; all in the byte order of this machine. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct layer {
    const float *attention_gain;  /* [dim] */
    const float *q, *k, *v;       /* [n_heads * head_dim, dim], [n_kv_heads * head_dim, dim] twice */
    const float *o;               /* [dim, n_heads * head_dim] */
    const float *ffn_gain;        /* [dim] */
    const float *gate, *up;       /* [hidden_dim, dim] */
    const float *down;            /* [dim, hidden_dim] */
    float *keys, *values;         /* [positions, n_kv_heads * head_dim] */
};

static struct { int32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, vocab_size, tied, start; } size;
static struct { float norm_eps, rope_amplitude; } constant;
static const float *frequencies; /* [head_dim / 2]: the angle by which a pair turns from one position to the next */
static const float *embedding, *final_gain, *classifier;
static struct layer *layers;
static float *residual, *normed, *queries, *mixed, *gated, *raised, *scores, *logits;

static void give_up(const char *what, const char *which)
{
    fprintf(stderr, "yardstick: %s '%s'\n", what, which);
    exit(1);
}

static float *allocate(size_t count)
{
    float *room = calloc(count, sizeof *room);
    if (room == NULL)
        give_up("no memory for", "floats");
    return room;
}

/* ------------------------------------------------------------------------------------------------------------- model */

static const float *read_floats(FILE *file, size_t count)
{
    float *room = allocate(count);
    if (fread(room, sizeof *room, count, file) != count)
        give_up("too short:", "WEIGHTS");
    return room;
}

static void read_model(const char *path, int positions)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(&size, sizeof size, 1, file) != 1 || fread(&constant, sizeof constant, 1, file) != 1)
        give_up("cannot read", path);
    size_t dim = (size_t)size.dim, hidden = (size_t)size.hidden_dim, vocab = (size_t)size.vocab_size;
    size_t q_dim = (size_t)(size.n_heads * size.head_dim), kv_dim = (size_t)(size.n_kv_heads * size.head_dim);
    frequencies = read_floats(file, (size_t)size.head_dim / 2);
    embedding   = read_floats(file, vocab * dim);
    layers = calloc((size_t)size.n_layers, sizeof *layers);
    if (layers == NULL)
        give_up("no memory for", "layers");
    for (struct layer *l = layers; l < layers + size.n_layers; l++) {
        l->attention_gain = read_floats(file, dim);
        l->q              = read_floats(file, q_dim * dim);
        l->k              = read_floats(file, kv_dim * dim);
        l->v              = read_floats(file, kv_dim * dim);
        l->o              = read_floats(file, dim * q_dim);
        l->ffn_gain       = read_floats(file, dim);
        l->gate           = read_floats(file, hidden * dim);
        l->up             = read_floats(file, hidden * dim);
        l->down           = read_floats(file, dim * hidden);
        l->keys           = allocate((size_t)positions * kv_dim);
        l->values         = allocate((size_t)positions * kv_dim);
    }
    final_gain = read_floats(file, dim);
    classifier = size.tied ? embedding : read_floats(file, vocab * dim);
    fclose(file);
    residual = allocate(dim);
    normed   = allocate(dim);
    queries  = allocate(q_dim);
    mixed    = allocate(q_dim);
    gated    = allocate(hidden);
    raised   = allocate(hidden);
    scores   = allocate((size_t)positions);
    logits   = allocate(vocab);
}

/* --------------------------------------------------------------------------------------------------------- arithmetic */

static float dot(const float *a, const float *b, int count)
{
    float sum = 0.0f;
    for (int i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static void multiply(float *out, const float *matrix, const float *in, int rows, int columns)
{
    for (int row = 0; row < rows; row++)
        out[row] = dot(matrix + (size_t)row * (size_t)columns, in, columns);
}

/* residual += matrix in */
static void multiply_into_residual(const float *matrix, const float *in, int columns)
{
    for (int row = 0; row < size.dim; row++)
        residual[row] += dot(matrix + (size_t)row * (size_t)columns, in, columns);
}

static void normalise(const float *gain)
{
    float factor = 1.0f / sqrtf(dot(residual, residual, size.dim) / (float)size.dim + constant.norm_eps);
    for (int i = 0; i < size.dim; i++)
        normed[i] = residual[i] * factor * gain[i];
}

/* Turn element i of each head together with element i + head_dim / 2. */
static void rotate(float *heads, int count, int position)
{
    int half = size.head_dim / 2;
    for (int i = 0; i < half; i++) {
        float angle  = (float)position * frequencies[i];
        float cosine = constant.rope_amplitude * cosf(angle), sine = constant.rope_amplitude * sinf(angle);
        for (int head = 0; head < count; head++) {
            float *pair = heads + head * size.head_dim + i;
            float first = pair[0], second = pair[half];
            pair[0]    = first * cosine - second * sine;
            pair[half] = first * sine + second * cosine;
        }
    }
}

/* One query head over all positions so far: scores, their softmax, and the mean of the values weighted by it. */
static void attend(const struct layer *l, int head, int position)
{
    int width = size.head_dim, stride = size.n_kv_heads * width, at = head * width;
    int offset = head / (size.n_heads / size.n_kv_heads) * width;
    float highest = -1e30f, total = 0.0f;
    for (int t = 0; t <= position; t++) {
        float sum = 0.0f;
        for (int i = 0; i < width; i++)
            sum += queries[at + i] * l->keys[t * stride + offset + i];
        scores[t] = sum / sqrtf((float)width);
        if (scores[t] > highest)
            highest = scores[t];
    }
    for (int t = 0; t <= position; t++) {
        scores[t] = expf(scores[t] - highest);
        total += scores[t];
    }
    memset(mixed + at, 0, (size_t)width * sizeof *mixed);
    for (int t = 0; t <= position; t++)
        for (int i = 0; i < width; i++)
            mixed[at + i] += scores[t] / total * l->values[t * stride + offset + i];
}

/* ------------------------------------------------------------------------------------------------------------ forward */

static void forward(int token, int position)
{
    int dim = size.dim, q_dim = size.n_heads * size.head_dim, kv_dim = size.n_kv_heads * size.head_dim;
    memcpy(residual, embedding + (size_t)token * (size_t)dim, (size_t)dim * sizeof *residual);
    for (const struct layer *l = layers; l < layers + size.n_layers; l++) {
        float *key = l->keys + (size_t)position * (size_t)kv_dim, *value = l->values + (size_t)position * (size_t)kv_dim;
        normalise(l->attention_gain);
        multiply(queries, l->q, normed, q_dim, dim);
        multiply(key, l->k, normed, kv_dim, dim);
        multiply(value, l->v, normed, kv_dim, dim);
        rotate(queries, size.n_heads, position);
        rotate(key, size.n_kv_heads, position);
        for (int head = 0; head < size.n_heads; head++)
            attend(l, head, position);
        multiply_into_residual(l->o, mixed, q_dim);

        normalise(l->ffn_gain);
        multiply(gated, l->gate, normed, size.hidden_dim, dim);
        multiply(raised, l->up, normed, size.hidden_dim, dim);
        for (int i = 0; i < size.hidden_dim; i++)
            gated[i] = gated[i] / (1.0f + expf(-gated[i])) * raised[i];
        multiply_into_residual(l->down, gated, size.hidden_dim);
    }
    normalise(final_gain);
    multiply(logits, classifier, normed, size.vocab_size, dim);
}

static int likeliest(void)
{
    int best = 0;
    for (int i = 1; i < size.vocab_size; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* --------------------------------------------------------------------------------------------------------------- main */

static double seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void decode(int positions, int repeats)
{
    for (int run = 0; run < repeats; run++) {
        double begin = seconds();
        int token = size.start;
        for (int position = 0; position < positions; position++) {
            forward(token, position);
            token = likeliest();
        }
        printf("seconds %.9f\n", seconds() - begin);
    }
}

static void write_logits(char **tokens, int count)
{
    for (int position = 0; position < count; position++) {
        forward(atoi(tokens[position]), position);
        fwrite(logits, sizeof *logits, (size_t)size.vocab_size, stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[2], "decode") == 0) {
        read_model(argv[1], atoi(argv[3]));
        decode(atoi(argv[3]), atoi(argv[4]));
    } else if (argc > 3 && strcmp(argv[2], "logits") == 0) {
        read_model(argv[1], argc - 3);
        write_logits(argv + 3, argc - 3);
    } else {
        fputs("usage: yardstick WEIGHTS decode N REPEATS, or WEIGHTS logits TOKEN...\n", stderr);
        return 2;
    }
    return 0;
}
