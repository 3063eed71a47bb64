"""How well a model predicts a text: nats per token, nats per byte, perplexity, over whole documents.

Each document is scored separately, up to the length of the context, with BOS before it if the model uses one. Nats per
token depend on the vocabulary; nats per byte compare models with different vocabularies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError

from .model import Llama

_BATCH = 16
_IGNORED = -100
"""The target that tells cross-entropy to ignore a position."""


@dataclass(frozen=True)
class Score:
    """Sums over all documents scored."""

    documents: int
    tokens: int
    """Tokens predicted: all except the first token of each document, which is BOS if the model uses it."""
    bytes: int
    """Bytes of text that the predicted tokens stand for."""
    nats: float

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def nats_per_byte(self) -> float:
        return self.nats / self.bytes

    @property
    def perplexity(self) -> float:
        """exp of the mean nats per token."""
        return math.exp(self.nats_per_token)


def encode_documents(
    texts: Iterable[str], vocabulary: Vocabulary, lead: Sequence[int], context: int
) -> Iterator[list[int]]:
    """Token ids of each text, `lead` (BOS, or nothing) before it, cut to `context` + 1 tokens.

    A text with fewer than two tokens is left out. Without a lead, the first token of a text is not predicted.
    """
    for text in texts:
        ids = [*lead, *vocabulary.encode(text)][: context + 1]
        if len(ids) > 1:
            yield ids


def score_documents(
    model: Llama,
    vocabulary: Vocabulary,
    texts: Iterable[str],
    limit: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Score:
    """Score up to `limit` documents; raises LlgenError when there are none."""
    model.eval()
    device = model.rope_cos.device
    documents = tokens = count = 0
    nats = 0.0
    encoded = islice(encode_documents(texts, vocabulary, model.config.lead, model.config.max_seq_len), limit)
    while batch := list(islice(encoded, _BATCH)):
        inputs, targets = (part.to(device) for part in padded(batch))
        with torch.inference_mode():
            logits = model(inputs).float()
            nats += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
        documents += len(batch)
        tokens += sum(len(ids) - 1 for ids in batch)
        count += sum(len(vocabulary.decode(ids[1:]).encode()) for ids in batch)
        progress(documents)
    if not tokens:
        raise LlgenError("there is no document to evaluate", "give --data a file that holds text")
    return Score(documents, tokens, max(count, 1), nats)


def padded(batch: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Inputs and targets [B, T] of documents of different lengths; targets after the end of a document are ignored."""
    longest = max(map(len, batch)) - 1
    inputs = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), _IGNORED)
    for row, ids in enumerate(batch):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        targets[row, : len(ids) - 1] = torch.tensor(ids[1:])
    return inputs, targets
