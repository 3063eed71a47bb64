"""The loss of a student that imitates a teacher and a text, computed without the logits of a whole batch in memory.

With a vocabulary of thousands, the logits of a batch are most of its memory, and each pass over them is slow. Here the
logits of a few positions are computed at a time. They stay in the CPU's cache until their gradients are computed (as in
Liger Kernel: Hsu et al., 2024, arXiv:2410.10989).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..objective import summed_divergence
from .folded import FoldedLlama, Matrices

_POSITIONS = 256
"""Positions at a time; their logits are 4 MB with a vocabulary of 4,096."""


class Head(NamedTuple):
    """The two factors of logits."""

    vectors: Tensor
    """[B, T, D]"""
    classifier: Tensor
    """[V, D]"""

    @classmethod
    def of(cls, model: FoldedLlama, tokens: Tensor, matrices: Matrices) -> Head:
        """The head of a model for tokens [B, T]."""
        vectors, name = model.before_logits(tokens, matrices)
        return cls(vectors, matrices[name])


def imitation_loss(ours: Head, theirs: Head, targets: Tensor, weight: float) -> Tensor:
    """The loss in nats per token: a mixture of the divergence from `theirs` and cross-entropy with `targets` [B, T].

    `weight` is the share of the divergence. Gradients flow to `ours` only.
    """
    vectors, wanted = (head.vectors.flatten(0, 1) for head in (ours, theirs))
    function: Any = _Imitation.apply
    loss: Tensor = function(vectors, ours.classifier, wanted, theirs.classifier, targets.flatten(), weight)
    return loss


class _Imitation(torch.autograd.Function):
    """Mean over positions of `weight` times the divergence plus (1 - `weight`) times the cross-entropy.

    The gradient of the logits is our probabilities minus a mixture: `weight` times the teacher's probabilities plus
    (1 - `weight`) at the text's token. All three are known when the loss is computed, and so is the gradient.
    """

    @staticmethod
    def forward(
        context: Any,
        vectors: Tensor,
        classifier: Tensor,
        wanted: Tensor,
        teacher: Tensor,
        targets: Tensor,
        weight: float,
    ) -> Tensor:
        vector_gradients, classifier_gradients = torch.empty_like(vectors), torch.zeros_like(classifier)
        total, count = 0.0, len(vectors)
        for part in (slice(first, first + _POSITIONS) for first in range(0, count, _POSITIONS)):
            chosen = targets[part, None]
            logs, teacher_logs = _log_softmax(vectors[part], classifier), _log_softmax(wanted[part], teacher)
            surprise = -logs.gather(-1, chosen).sum()
            divergence, probabilities = summed_divergence(logs, teacher_logs)
            total += float((1.0 - weight) * surprise + weight * divergence)
            if not any(context.needs_input_grad):
                continue
            logit_gradients = logs.exp_().sub_(probabilities, alpha=weight)
            logit_gradients.scatter_add_(-1, chosen, logs.new_full(chosen.shape, weight - 1.0))
            logit_gradients /= count
            torch.mm(logit_gradients, classifier, out=vector_gradients[part])
            classifier_gradients.addmm_(logit_gradients.t(), vectors[part])
        context.save_for_backward(vector_gradients, classifier_gradients)
        return vectors.new_tensor(total / count)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        vectors, classifier = context.saved_tensors
        return vectors * gradients[0], classifier * gradients[0], None, None, None, None


def _log_softmax(vectors: Tensor, classifier: Tensor) -> Tensor:
    logits = vectors @ classifier.t()
    return logits.sub_(logits.logsumexp(-1, keepdim=True))
