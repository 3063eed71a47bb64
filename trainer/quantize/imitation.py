"""The loss of a student that imitates a teacher and a text, without ever holding the logits of a whole batch.

With a vocabulary of thousands, logits are most of a batch's memory, and every pass over them goes through it. Here a
few positions at a time have theirs, which stay in cache until the gradients are known, too (as in Liger Kernel: Hsu et
al., 2024, arXiv:2410.10989).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .folded import FoldedLlama, Matrices

_POSITIONS = 256
"""At a time: 4 MB of logits with a vocabulary of 4,096."""


class Head(NamedTuple):
    """What logits are the product of."""

    vectors: Tensor
    """[B, T, D]"""
    classifier: Tensor
    """[V, D]"""

    @classmethod
    def of(cls, model: FoldedLlama, tokens: Tensor, matrices: Matrices) -> Head:
        """What a model makes of tokens [B, T]."""
        vectors, name = model.before_logits(tokens, matrices)
        return cls(vectors, matrices[name])


def imitation_loss(ours: Head, theirs: Head, targets: Tensor, weight: float) -> Tensor:
    """Nats a token: `weight` of it the divergence from `theirs`, the rest cross-entropy with `targets` [B, T].

    Gradients reach `ours`.
    """
    vectors, wanted = (head.vectors.flatten(0, 1) for head in (ours, theirs))
    function: Any = _Imitation.apply
    loss: Tensor = function(vectors, ours.classifier, wanted, theirs.classifier, targets.flatten(), weight)
    return loss


class _Imitation(torch.autograd.Function):
    """Both parts want one thing: odds that are `weight` of the teacher's and the rest of the text's.

    So the gradient of the logits is our odds minus those, and is at hand when the loss is.
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
            odds = teacher_logs.exp()
            surprise = -logs.gather(-1, chosen).sum()
            divergence = torch.dot(odds.view(-1), teacher_logs.sub_(logs).view(-1))
            total += float((1.0 - weight) * surprise + weight * divergence)
            if not any(context.needs_input_grad):
                continue
            logit_gradients = logs.exp_().sub_(odds, alpha=weight)
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
