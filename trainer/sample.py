"""Generates text with a model in PyTorch, to show the progress of training.

It uses PyTorch's random numbers. Generated C has its own random numbers, equal on every target, so its texts differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError

from .model import Cache, Llama


@torch.inference_mode()
def sample_tokens(
    model: Llama,
    prompt: Sequence[int],
    max_tokens: int,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 1,
    padding: Sequence[int] = (),
) -> list[int]:
    """Sample the tokens after `prompt`, until an end token, `max_tokens` tokens, or the end of the context.

    `temperature` 0 takes the likeliest token each time. `top_p` keeps the likeliest tokens whose probabilities sum to
    at least `top_p` (nucleus sampling: Holtzman et al., 2020, arXiv:1904.09751). `padding` lists rows of the logits
    that are not tokens.
    Raises LlgenError for an empty prompt, a prompt longer than the context, or a setting out of range.
    """
    if not prompt:
        raise LlgenError("the prompt has no token", "begin with the model's start token")
    if temperature < 0.0 or not 0.0 < top_p <= 1.0:
        raise LlgenError(
            f"temperature is {temperature} and top_p {top_p}; they must be at least 0, and above 0 and at most 1"
        )
    config, device = model.config, model.rope_cos.device
    if len(prompt) > config.max_seq_len:
        raise LlgenError(
            f"the prompt has {len(prompt)} tokens; the model was made for {config.max_seq_len}", "shorten the prompt"
        )
    generator = torch.Generator().manual_seed(seed)
    cache = Cache.empty(config, device=device)
    step = torch.tensor([list(prompt)], device=device)  # [1, T]
    out: list[int] = []
    for _ in range(min(max_tokens, config.max_seq_len - len(prompt) + 1)):
        logits = model(step, cache)  # [1, T, V]
        last = logits[0, -1].float().cpu()
        last[list(padding)] = -torch.inf
        token = _choose(last, temperature, top_p, generator)
        if token in config.end_ids:
            break
        out.append(token)
        step = torch.tensor([[token]], device=device)
    return out


def sample_text(
    model: Llama,
    vocabulary: Vocabulary,
    prompt: str = "",
    max_tokens: int = 256,
    *,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 1,
) -> str:
    """`prompt`, followed by the text that the model generates after it."""
    given = vocabulary.encode(prompt) if prompt else []
    begin = [*model.config.lead, *given] or [model.config.start_id]
    following = sample_tokens(
        model, begin, max_tokens, temperature=temperature, top_p=top_p, seed=seed, padding=vocabulary.padding
    )
    return vocabulary.decode(given + following)


def _choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Sample one token from logits [V]."""
    if temperature == 0.0:
        return int(logits.argmax())
    probabilities, order = (logits / temperature).softmax(-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities  # the probability of all likelier tokens
    kept = torch.where(before < top_p, probabilities, 0.0)
    return int(order[torch.multinomial(kept, 1, generator=generator)])
