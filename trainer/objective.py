"""What is minimised: cross-entropy with the text, or in part the divergence from a teacher.

Distillation after Hinton, Vinyals and Dean (2015, arXiv:1503.02531).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llgen.codegen.checkpoint import Checkpoint
from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .operators import Operators

Forward = Callable[[Tensor], Tensor]
"""From tokens [B, T] to logits [B, T, V]."""


class Objective:
    """The loss of a batch, in nats a token."""

    def __init__(
        self, operators: Operators, teacher: Forward | None = None, weight: float = 0.5, temperature: float = 1.0
    ) -> None:
        self._operators = operators
        self._teacher = teacher
        self._weight = weight
        self._temperature = temperature

    def __call__(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over `inputs` and `targets` [B, T]."""
        logits = forward(inputs)
        loss = self._operators.cross_entropy(logits, targets)
        if self._teacher is None:
            return loss
        with torch.no_grad():
            wanted = self._teacher(inputs)
        return (1.0 - self._weight) * loss + self._weight * divergence(logits, wanted, self._temperature)


class _Divergence(torch.autograd.Function):
    """Of rows of logits [N, V]. The gradient, ours minus theirs, is at hand when the loss is: large vocabularies make
    every pass over the logits count."""

    @staticmethod
    def forward(context: Any, logits: Tensor, wanted: Tensor) -> Tensor:
        ours, theirs = logits.log_softmax(-1), wanted.log_softmax(-1)
        odds = theirs.exp()
        loss = torch.dot(odds.view(-1), theirs.sub_(ours).view(-1)) / len(odds)
        context.save_for_backward(ours.exp_().sub_(odds).div_(len(odds)))
        return loss

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (change,) = context.saved_tensors
        return change * gradients[0], None


def divergence(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Mean Kullback-Leibler divergence from the teacher's distributions, times temperature squared.

    The square keeps the gradient's size whatever the temperature. Both are logits [B, T, V].
    """
    ours, theirs = logits.flatten(0, 1).float(), wanted.flatten(0, 1).float()
    if temperature != 1.0:
        ours, theirs = ours / temperature, theirs / temperature
    loss: Tensor = _Divergence.apply(ours, theirs)  # type: ignore[no-untyped-call]
    return loss * temperature**2


def require_fitting_teacher(teacher: Checkpoint, vocabulary: Vocabulary, positions: int) -> None:
    """Raise LlgenError when a teacher speaks of other tokens than a student of `vocabulary`, or of fewer positions."""
    if teacher.config.vocab_size != len(vocabulary):
        raise LlgenError(
            f"the teacher has {teacher.config.vocab_size} tokens and the student {len(vocabulary)}",
            "data.tokenizer=TEACHER/tokenizer.model gives the student the teacher's",
        )
    if teacher.vocabulary is not None and _spellings(teacher.vocabulary) != _spellings(vocabulary):
        raise LlgenError(
            "the teacher's tokenizer has other pieces than the student's, so that their tokens mean different text",
            "data.tokenizer=TEACHER/tokenizer.model gives the student the teacher's",
        )
    if teacher.config.max_seq_len < positions:
        raise LlgenError(
            f"the teacher has {teacher.config.max_seq_len} positions and the student {positions}",
            f"model.max_seq_len={teacher.config.max_seq_len}",
        )


def _spellings(vocabulary: Vocabulary) -> list[str]:
    return [piece.text for piece in vocabulary.pieces]
