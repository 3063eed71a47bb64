/* Uses the API wrongly in every way it can be, and rightly; prints nothing and returns 0 when all is as promised. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "odd.h"

static struct odd state, fork_state, untouched;

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            return 1; \
        } \
    } while (0)

static int collect(const char *text, size_t length, void *user)
{
    size_t *total = user;
    (void)text;
    *total += length;
    return 0;
}

static int stop(const char *text, size_t length, void *user)
{
    (void)text;
    (void)length;
    return *(int *)user;
}

static int misuse(void)
{
    const int32_t bad[2] = { 5, ODD_VOCAB };
    int32_t tokens[4];
    size_t count = 9;
    memset(&untouched, 0xA5, sizeof untouched);
    EXPECT(odd_eval(&untouched, 1) == ODD_ERR_STATE);
    EXPECT(odd_sample(&untouched, NULL) == ODD_ERR_STATE);
    EXPECT(odd_logits(&untouched) == NULL);
    EXPECT(odd_tokens(&untouched, &count) == NULL && count == 0);
    EXPECT(odd_generate(&untouched, "a", 1, NULL, collect, &count) == ODD_ERR_STATE);

    EXPECT(odd_reset(NULL) == ODD_ERR_ARG);
    EXPECT(odd_eval(NULL, 1) == ODD_ERR_ARG);
    EXPECT(odd_tokens(NULL, &count) == NULL && count == 0);
    EXPECT(odd_prefill(NULL, tokens, 1) == ODD_ERR_ARG);
    EXPECT(odd_logits(NULL) == NULL);
    EXPECT(odd_sample(NULL, NULL) == ODD_ERR_ARG);
    EXPECT(odd_generate(NULL, "a", 1, NULL, collect, NULL) == ODD_ERR_ARG);

    EXPECT(odd_reset(&state) == ODD_OK);
    EXPECT(odd_logits(&state) == NULL);
    EXPECT(odd_sample(&state, NULL) == ODD_ERR_STATE);
    EXPECT(odd_prefill(&state, NULL, 1) == ODD_ERR_ARG);
    EXPECT(odd_prefill(&state, NULL, 0) == ODD_OK);
    EXPECT(odd_eval(&state, -1) == ODD_ERR_TOKEN);
    EXPECT(odd_eval(&state, ODD_VOCAB) == ODD_ERR_TOKEN);
    EXPECT(odd_eval(&state, INT32_MIN) == ODD_ERR_TOKEN);
    EXPECT(odd_prefill(&state, bad, 2) == ODD_ERR_TOKEN);
    EXPECT(odd_prefill(&state, bad, SIZE_MAX) == ODD_ERR_FULL);
    EXPECT(odd_tokens(&state, &count) != NULL && count == 0); /* nothing was evaluated by all this */
    EXPECT(odd_generate(&state, "a", 1, NULL, NULL, NULL) == ODD_ERR_ARG);
    EXPECT(strlen(odd_strerror(ODD_ERR_FULL)) > 0 && strlen(odd_strerror(-99)) > 0);
    return 0;
}

/* A state at an address that its members do not allow is refused, untouched, by every function. */
static int odd_addresses(void)
{
    static _Alignas(ODD_ALIGNMENT) unsigned char memory[ODD_RAM_BYTES + ODD_ALIGNMENT];
    size_t count = 9;
    for (size_t shift = 1; shift < ODD_ALIGNMENT; shift++) {
        void *place = memory + shift;
        struct odd *displaced = place;
        EXPECT(odd_reset(displaced) == ODD_ERR_ARG);
        memcpy(place, &state, sizeof state); /* a copy of one that was reset */
        EXPECT(odd_eval(displaced, 1) == ODD_ERR_STATE);
        EXPECT(odd_sample(displaced, NULL) == ODD_ERR_STATE);
        EXPECT(odd_logits(displaced) == NULL && odd_tokens(displaced, &count) == NULL && count == 0);
        EXPECT(odd_generate(displaced, "a", 1, NULL, collect, &count) == ODD_ERR_STATE);
        memset(memory, 0, sizeof memory);
        EXPECT(odd_reset(displaced) == ODD_ERR_ARG);
        for (size_t i = 0; i < sizeof memory; i++)
            EXPECT(memory[i] == 0);
    }
    void *place = memory;
    EXPECT(odd_reset(place) == ODD_OK && odd_eval(place, 1) == ODD_OK);
    return 0;
}

static int full_context(void)
{
    size_t written = 0;
    char prompt[4 * ODD_CONTEXT];
    odd_reset(&state);
    for (int32_t i = 0; i < ODD_CONTEXT; i++)
        EXPECT(odd_eval(&state, i) == ODD_OK);
    EXPECT(odd_eval(&state, 1) == ODD_ERR_FULL);
    EXPECT(odd_generate(&state, NULL, 10, NULL, collect, &written) == 0 && written == 0);
    EXPECT(odd_generate(&state, "a", 10, NULL, collect, &written) == ODD_ERR_FULL);
    EXPECT(odd_sample(&state, NULL) >= 0);

    memset(prompt, 'x', sizeof prompt - 1);
    prompt[sizeof prompt - 1] = '\0';
    odd_reset(&state);
    EXPECT(odd_generate(&state, prompt, 10, NULL, collect, &written) == ODD_ERR_FULL);
    EXPECT(odd_tokens(&state, NULL) != NULL && odd_logits(&state) == NULL);
    return 0;
}

/* memcpy forks a conversation: both go on alike, and apart without touching each other. */
static int forks(void)
{
    odd_sampler how = { .temperature = 1.0f, .seed = 3 }, same = how;
    odd_reset(&state);
    for (int i = 0; i < 20; i++)
        EXPECT(odd_eval(&state, 7 * i) == ODD_OK);
    memcpy(&fork_state, &state, sizeof state);
    for (int i = 0; i < 20; i++) {
        int32_t a = odd_sample(&state, &how), b = odd_sample(&fork_state, &same);
        EXPECT(a == b && odd_eval(&state, a) == ODD_OK && odd_eval(&fork_state, b) == ODD_OK);
        EXPECT(memcmp(odd_logits(&state), odd_logits(&fork_state), ODD_VOCAB * sizeof(float)) == 0);
    }
    EXPECT(odd_eval(&fork_state, 1) == ODD_OK && odd_eval(&state, 2) == ODD_OK);
    EXPECT(memcmp(odd_logits(&state), odd_logits(&fork_state), ODD_VOCAB * sizeof(float)) != 0);
    return 0;
}

/* A prefill gives the bits of so many evals. */
static int prefills(void)
{
    int32_t tokens[50];
    for (int i = 0; i < 50; i++)
        tokens[i] = (i * 37) % ODD_VOCAB;
    odd_reset(&state);
    odd_reset(&fork_state);
    EXPECT(odd_prefill(&state, tokens, 50) == ODD_OK);
    for (int i = 0; i < 50; i++)
        EXPECT(odd_eval(&fork_state, tokens[i]) == ODD_OK);
    EXPECT(memcmp(odd_logits(&state), odd_logits(&fork_state), ODD_VOCAB * sizeof(float)) == 0);
    return 0;
}

static int generates(void)
{
    size_t count, length = 0;
    int answer = 5;
    odd_sampler how = { .temperature = 1.0f, .seed = 1, .ignore_end = 1 };
    odd_reset(&state);
    EXPECT(odd_generate(&state, "the fox", 12, &how, collect, &length) == 12 && length > 0);
    EXPECT(odd_tokens(&state, &count)[0] == ODD_BOS && count > 13);
    EXPECT(odd_generate(&state, " and", 3, &how, collect, &length) == 3); /* a conversation goes on */
    odd_reset(&state);
    EXPECT(odd_generate(&state, NULL, 12, &how, stop, &answer) >= 1);
    EXPECT(odd_tokens(&state, &count) != NULL && count < 13);
    answer = -42;
    odd_reset(&state);
    EXPECT(odd_generate(&state, NULL, 12, &how, stop, &answer) == -42);
    odd_reset(&state);
    EXPECT(odd_generate(&state, "", 0, &how, collect, &length) == 0);
    return 0;
}

int main(void)
{
    return misuse() || odd_addresses() || full_context() || forks() || prefills() || generates();
}
