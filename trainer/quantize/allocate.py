"""Which matrices get 8 bits and which 4, when flash is given: those that suffer most for a byte saved keep 8.

What a matrix suffers is measured: the divergence from the float32 model when it alone has 4 bits. The sum over
matrices stands for their common effect, as in HAWQ-V2 (Dong et al., 2020, arXiv:1911.03852).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llgen.codegen.matrix import IntMatrix

from ..objective import divergence
from .folded import FoldedLlama, Matrices


def sensitivities(
    model: FoldedLlama,
    exact: Matrices,
    eights: Mapping[str, IntMatrix],
    fours: Mapping[str, IntMatrix],
    batches: Sequence[Tensor],
) -> dict[str, float]:
    """Nats a token that the model loses when one matrix goes from 8 bits to 4, for every matrix in `fours`."""
    whole = FoldedLlama(model.config, model.final_gain, whole=True, whole_cache=False, context=model.context)
    base = {name: torch.from_numpy(matrix.dequantized().copy()) for name, matrix in eights.items()}
    tokens = [batch[:, : model.context] for batch in batches]
    with torch.inference_mode():
        wanted = [model(each, exact) for each in tokens]

        def loss(matrices: Matrices) -> float:
            losses = [
                float(divergence(whole(each, matrices), logits, 1.0))
                for each, logits in zip(tokens, wanted, strict=True)
            ]
            return sum(losses) / len(losses)

        before = loss(base)
        return {
            name: max(loss({**base, name: torch.from_numpy(matrix.dequantized().copy())}) - before, 0.0)
            for name, matrix in fours.items()
        }


def allocate(sensitivity: Mapping[str, float], savings: Mapping[str, int], excess: int) -> set[str]:
    """The matrices that get 4 bits, such that at least `excess` bytes are saved: greedily, least loss a byte first.

    Afterwards those that turn out not to be needed go back to 8 bits, the most sensitive first.
    """
    order = sorted(savings, key=lambda name: (sensitivity[name] / max(savings[name], 1), name))
    chosen: list[str] = []
    saved = 0
    for name in order:
        if saved >= excess:
            break
        if savings[name] > 0:
            chosen.append(name)
            saved += savings[name]
    for name in sorted(chosen, key=lambda name: -sensitivity[name]):
        if saved - savings[name] >= excess:
            chosen.remove(name)
            saved -= savings[name]
    return set(chosen)
