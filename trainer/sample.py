"""Text from a model in PyTorch: for a look at what training made of it.

Generated C samples with a generator of its own, the same everywhere; this one is PyTorch's, and its texts differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

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
) -> list[int]:
    """Tokens that follow a prompt, up to BOS or EOS, `max_tokens`, or the end of the context; the prompt not included.

    `temperature` 0 takes the likeliest token each time; `top_p` keeps the likeliest ones that make up that
    probability (nucleus sampling: Holtzman et al., 2020, arXiv:1904.09751).
    Raises LlgenError for an empty prompt or one longer than the context, or a setting out of range.
    """
    if not prompt:
        raise LlgenError("the prompt holds no token", "start with BOS")
    if temperature < 0.0 or not 0.0 < top_p <= 1.0:
        raise LlgenError(f"temperature is {temperature} and top_p {top_p}; they must be at least 0, and above 0 to 1")
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
        token = _choose(logits[0, -1].float().cpu(), temperature, top_p, generator)
        if token in (config.bos_id, config.eos_id):
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
    """A prompt and the text that the model puts behind it."""
    ids = [vocabulary.bos_id, *(vocabulary.encode(prompt) if prompt else [])]
    following = sample_tokens(model, ids, max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    return vocabulary.decode(ids[1:] + following)


def _choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """One token by its logits [V]."""
    if temperature == 0.0:
        return int(logits.argmax())
    probabilities, order = (logits / temperature).softmax(-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities  # the probability of all likelier tokens
    kept = torch.where(before < top_p, probabilities, 0.0)
    return int(order[torch.multinomial(kept, 1, generator=generator)])
