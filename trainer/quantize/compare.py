"""What quantising costs: a model's distributions compared with those of the float32 model, over whole documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.codegen.quantise.quantize import QuantModel
from llgen.errors import LlgenError

from ..evaluate import encode_documents, padded
from .calibration import sequences_at_once
from .folded import FoldedLlama, Matrices

_BATCH = 16
"""Maximum number of documents evaluated together; fewer when their logits would take too much memory."""


@dataclass(frozen=True)
class Comparison:
    """Means over all predicted tokens; the standard error is computed over documents, which are independent."""

    documents: int
    tokens: int
    nats_per_token: float
    ratio_to_f32: float
    """The perplexity divided by that of the float32 model."""
    standard_error: float | None
    """Standard error of the ratio; None for a single document."""
    kl: float
    """Mean Kullback-Leibler divergence from the float32 model to the quantised model, in nats per token."""
    top1: float
    """The share of positions at which both models have the same likeliest token."""

    def __str__(self) -> str:
        """The ratio and its standard error, for people."""
        error = "" if self.standard_error is None else f" ±{self.standard_error:.4f}"
        return f"x{self.ratio_to_f32:.4f}{error}"


@dataclass(frozen=True)
class Contender:
    """A model to compare: a forward pass and its matrices."""

    model: FoldedLlama
    matrices: Matrices

    @classmethod
    def of(cls, model: QuantModel) -> Contender:
        return cls(*FoldedLlama.of(model))

    @torch.inference_mode()
    def log_probabilities(self, tokens: Tensor) -> Tensor:
        """Log-probabilities [B, T, V] for tokens [B, T]."""
        return self.model(tokens, self.matrices).log_softmax(-1)


def compare(
    reference: Contender,
    contenders: dict[str, Contender],
    vocabulary: Vocabulary,
    texts: Iterable[str],
    limit: int | None = None,
    told: Callable[[int], None] = lambda documents: None,
) -> dict[str, Comparison]:
    """Compare contenders with the reference on up to `limit` documents; raises LlgenError when there are none."""
    context = min(each.model.context for each in (reference, *contenders.values()))
    encoded = islice(encode_documents(texts, vocabulary, reference.model.config.lead, context), limit)
    together = min(_BATCH, sequences_at_once(context, len(vocabulary)))
    rows: dict[str, list[Tensor]] = {name: [] for name in contenders}
    documents = 0
    while batch := list(islice(encoded, together)):
        inputs, targets = padded(batch)
        mask = targets >= 0
        chosen = targets.clamp(min=0)[..., None]
        true = reference.log_probabilities(inputs)
        true_nats = -true.gather(-1, chosen)[..., 0]
        for name, contender in contenders.items():
            ours = contender.log_probabilities(inputs)
            nats = -ours.gather(-1, chosen)[..., 0]
            divergence = (true.exp() * (true - ours)).sum(-1)
            same = (true.argmax(-1) == ours.argmax(-1)).float()
            columns = torch.stack([mask.float(), nats, nats - true_nats, divergence, same], dim=-1)
            rows[name].append((columns * mask[..., None]).sum(1).double())  # [B, 5]: sums over each document
        documents += len(batch)
        told(documents)
    if not documents:
        raise LlgenError("there is no document to evaluate", "give a file that holds text")
    return {name: _summary(torch.cat(parts)) for name, parts in rows.items()}


def _summary(sums: Tensor) -> Comparison:
    """The means, from sums of each document [N, 5]: tokens, nats, extra nats, divergence, agreements."""
    tokens, nats, extra, divergence, same = sums.sum(0).tolist()
    ratio = math.exp(extra / tokens)
    # The mean is a ratio of sums; its error follows from the residual of each document (delta method).
    residuals = sums[:, 2] - extra / tokens * sums[:, 0]
    count = len(sums)
    error = None
    if count > 1:
        error = ratio * float(residuals.square().sum().sqrt()) / tokens * math.sqrt(count / (count - 1))
    return Comparison(
        documents=count,
        tokens=int(tokens),
        nats_per_token=nats / tokens,
        ratio_to_f32=ratio,
        standard_error=error,
        kl=divergence / tokens,
        top1=same / tokens,
    )
