"""Sampling texts from the model in PyTorch."""

from __future__ import annotations

import pytest
import torch
from runs import TINY, VOCABULARY

from llgen.errors import LlgenError
from llgen.trainer.model import Llama
from llgen.trainer.sample import sample_text, sample_tokens


def test_greedy_samples_equal_the_argmax_of_the_whole() -> None:
    torch.manual_seed(3)
    model = Llama(TINY)
    prompt = [1, 270, 280]
    out = sample_tokens(model, prompt, 10, temperature=0.0)
    tokens = [*prompt, *out]
    expected = model(torch.tensor([tokens]))[0].argmax(-1)[len(prompt) - 1 :]
    assert out == expected[: len(out)].tolist()


def test_samples_are_seeded_and_end_with_the_context() -> None:
    torch.manual_seed(3)
    model = Llama(TINY)
    out = [sample_tokens(model, [1], 1000, seed=seed) for seed in (1, 1, 2)]
    assert out[0] == out[1] != out[2]
    assert max(map(len, out)) <= TINY.max_seq_len
    assert sample_text(model, VOCABULARY, "Tom", 5).startswith("Tom")


def test_a_small_top_p_is_greedy() -> None:
    torch.manual_seed(3)
    model = Llama(TINY)
    assert sample_tokens(model, [1], 10, top_p=1e-6, seed=4) == sample_tokens(model, [1], 10, temperature=0.0)


def test_samples_refuse() -> None:
    model = Llama(TINY)
    with pytest.raises(LlgenError, match="the prompt has no token"):
        sample_tokens(model, [], 1)
    with pytest.raises(LlgenError, match="temperature is -1"):
        sample_tokens(model, [1], 1, temperature=-1.0)
    with pytest.raises(LlgenError, match="the prompt has 33 tokens; the model was made for 32"):
        sample_tokens(model, [1] * 33, 1)
