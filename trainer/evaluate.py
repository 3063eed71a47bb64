"""How well a model predicts a text: nats a token, nats a byte, perplexity, over whole documents.

Every document is scored on its own, behind BOS, as far as the context reaches. Nats a token depend on the vocabulary;
nats a byte compare models of different vocabularies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .model import Llama

_BATCH = 16
_IGNORED = -100
"""What cross-entropy takes for "no target here"."""


@dataclass(frozen=True)
class Score:
    """Sums over all documents scored."""

    documents: int
    tokens: int
    """Tokens predicted: all but the BOS of each document."""
    bytes: int
    """Bytes of text that those tokens spell."""
    nats: float

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def nats_per_byte(self) -> float:
        return self.nats / self.bytes

    @property
    def perplexity(self) -> float:
        """Of a token."""
        return math.exp(self.nats_per_token)


def encode_documents(texts: Iterable[str], vocabulary: Vocabulary, context: int) -> Iterator[list[int]]:
    """BOS and the tokens of each text, up to `context` predictions; texts without a token are left out."""
    for text in texts:
        ids = [vocabulary.bos_id, *vocabulary.encode(text)][: context + 1]
        if len(ids) > 1:
            yield ids


def score_documents(
    model: Llama,
    vocabulary: Vocabulary,
    texts: Iterable[str],
    limit: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Score:
    """Score up to `limit` documents; raises LlgenError when there is none."""
    model.eval()
    device = model.rope_cos.device
    documents = tokens = count = 0
    nats = 0.0
    encoded = islice(encode_documents(texts, vocabulary, model.config.max_seq_len), limit)
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
    """Inputs and targets [B, T] of documents of different lengths; where one is over, the target is ignored."""
    longest = max(map(len, batch)) - 1
    inputs = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), _IGNORED)
    for row, ids in enumerate(batch):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        targets[row, : len(ids) - 1] = torch.tensor(ids[1:])
    return inputs, targets
