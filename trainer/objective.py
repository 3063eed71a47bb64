"""The training loss: cross-entropy with the text, and, with a teacher, also the divergence from it.

Distillation after Hinton, Vinyals and Dean (2015, arXiv:1503.02531).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError

from .operators import Operators

Forward = Callable[[Tensor], Tensor]
"""From tokens [B, T] to logits [B, T, V]."""


class Objective:
    """The loss of a batch in nats per token: cross-entropy, or a mixture of it and the divergence from a teacher.

    `weight` is the share of the divergence.
    """

    def __init__(
        self, operators: Operators, teacher: Forward | None = None, weight: float = 0.5, temperature: float = 1.0
    ) -> None:
        self._operators = operators
        self._teacher = teacher
        self._weight = weight
        self._temperature = temperature

    def __call__(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of `forward` over `inputs` and `targets` [B, T]."""
        logits = forward(inputs)
        loss = self._operators.cross_entropy(logits, targets)
        if self._teacher is None:
            return loss
        with torch.no_grad():
            wanted = self._teacher(inputs)
        return (1.0 - self._weight) * loss + self._weight * divergence(logits, wanted, self._temperature)


def summed_divergence(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Kullback-Leibler divergence from `theirs` to `ours`, summed over rows, and the probabilities of `theirs` [N, V].

    Both are log-probabilities [N, V]. `theirs` is overwritten, because large vocabularies make every copy expensive.
    """
    probabilities = theirs.exp()
    return torch.dot(probabilities.view(-1), theirs.sub_(ours).view(-1)), probabilities


class _Divergence(torch.autograd.Function):
    """Mean divergence over rows of logits [N, V].

    The gradient of the logits is our probabilities minus the teacher's. Both are known when the loss is computed, so
    the gradient is computed there too: with a large vocabulary, each pass over the logits takes long.
    """

    @staticmethod
    def forward(context: Any, logits: Tensor, wanted: Tensor) -> Tensor:
        ours, count = logits.log_softmax(-1), len(logits)
        total, probabilities = summed_divergence(ours, wanted.log_softmax(-1))
        context.save_for_backward(ours.exp_().sub_(probabilities).div_(count))
        return total / count

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (change,) = context.saved_tensors
        return change * gradients[0], None


def divergence(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Mean Kullback-Leibler divergence from the teacher's distributions, in nats per token, times temperature squared.

    Both are logits [B, T, V], `wanted` the teacher's. The square makes the size of the gradient independent of the
    temperature.
    """
    ours, theirs = logits.flatten(0, 1).float(), wanted.flatten(0, 1).float()
    if temperature != 1.0:
        ours, theirs = ours / temperature, theirs / temperature
    loss: Tensor = _Divergence.apply(ours, theirs)  # type: ignore[no-untyped-call]
    return loss * temperature**2


def require_fitting_teacher(teacher: Checkpoint, vocabulary: Vocabulary, positions: int) -> None:
    """Raise LlgenError when the teacher has other tokens than `vocabulary`, or fewer positions than `positions`."""
    if teacher.config.vocab_size != len(vocabulary):
        raise LlgenError(
            f"the teacher has {teacher.config.vocab_size} tokens and the student {len(vocabulary)}",
            "data.tokenizer=TEACHER/tokenizer.model gives the student the teacher's tokenizer",
        )
    if teacher.vocabulary is not None and _spellings(teacher.vocabulary) != _spellings(vocabulary):
        raise LlgenError(
            "the teacher's tokenizer has other pieces than the student's, so the same token means different text",
            "data.tokenizer=TEACHER/tokenizer.model gives the student the teacher's tokenizer",
        )
    if teacher.config.max_seq_len < positions:
        raise LlgenError(
            f"the teacher has {teacher.config.max_seq_len} positions and the student {positions}",
            f"model.max_seq_len={teacher.config.max_seq_len}",
        )


def _spellings(vocabulary: Vocabulary) -> list[str]:
    return [piece.text for piece in vocabulary.pieces]
