"""Small random models, for tests that need many shapes and no meaning."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import sentencepiece

from llgen.codegen.contract.matrix import to_bits
from llgen.codegen.model.architectures import tensor_shapes
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import LinearScaling, Llama3Scaling, RopeScaling, TableScaling, YarnScaling
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.spec import lower
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.codegen.quantise.fold import fold
from llgen.codegen.quantise.quantize import QuantModel, assemble

# Odd on purpose: no width is a multiple of a block of rows, a head is no power of two, the vocabulary ends mid-block.
ODD = ModelConfig(
    dim=36,
    hidden_dim=172,
    n_layers=1,
    n_heads=6,
    n_kv_heads=2,
    head_dim=6,
    vocab_size=301,
    max_seq_len=75,
    norm_eps=1e-6,
    rope_theta=5000.0,
    tied=False,
)

SCALINGS: dict[str, RopeScaling] = {
    "linear": LinearScaling(2.5),
    "llama3": Llama3Scaling(8.0, low_freq_factor=0.75, high_freq_factor=3.0, original_max_position_embeddings=14),
    "yarn": YarnScaling(4.0, 16, YarnScaling.usual_attention_factor(4.0)),
    "yarn, all set": YarnScaling(3.0, 12, 0.9, beta_fast=1.5, beta_slow=0.5, truncate=False),
    "table": TableScaling((1.0, 1.5, 6.0), 1.25),
}
"""RoPE scaling of each kind, for heads of 6."""

MIXED = replace(ODD, dim=160, n_heads=4, n_kv_heads=2, head_dim=48, tied=True)
"""Its channels are mixed by 32, and the values of its heads by 16."""


def random_checkpoint(
    config: ModelConfig = ODD, *, name: str = "odd", seed: int = 1, vocabulary: Vocabulary | None = None
) -> Checkpoint:
    """A model of normally distributed weights, large enough that its logits differ from one another."""
    generator = np.random.default_rng(seed)
    tensors = {
        tensor: (
            (1.0 + 0.1 * generator.standard_normal(shape))
            if len(shape) == 1
            else generator.standard_normal(shape) / np.sqrt(shape[-1])
        ).astype(np.float32)
        for tensor, shape in tensor_shapes(config).items()
    }
    return Checkpoint(name, config, tensors, vocabulary)


def four_bits_everywhere() -> QuantModel:
    """A model whose every matrix has 4 bits, the embedding too, which is looked up as well as multiplied."""
    folded = fold(lower(random_checkpoint(replace(ODD, tied=True), name="fours")), "q4")
    return assemble(folded, "q8", {name: to_bits(values, 4) for name, values in folded.matrices.items()})


def of_many_forms(checkpoint: Checkpoint, kv: str = "q8", *, embedding: int = 8) -> QuantModel:
    """A model rounded to nearest, each kind of matrix in another number of bits."""
    folded = fold(lower(checkpoint), "q4")
    bits = {"embedding": embedding, "classifier": 8, "wqkv": 5, "wo": 6, "w13": 4, "w2": 8}
    rounded = {name: to_bits(values, bits[name.partition(".")[0]]) for name, values in folded.matrices.items()}
    return assemble(folded, kv, rounded)


_SENTENCES = [
    "Once upon a time there was a little fox who lived by the old mill.",
    "The fox asked: “Where is my red ball?” and ran down to the river, 12 times!",
    "Ein kleiner Bär fand ein Stück Käse; où est-il?  Il n'est pas là.",
    "Naïve café — 中文 テスト 😀\ttab\nnew line",
]


@cache
def trained_vocabulary(size: int = 420, *, byte_fallback: bool = True, **options: object) -> Vocabulary:
    """A SentencePiece BPE model trained on a few sentences."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=byte_fallback,
        normalization_rule_name="identity",
        character_coverage=0.99,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return SentencePiece.from_proto(model.getvalue())


def talking_checkpoint(**changes: Any) -> Checkpoint:
    """A random model called fox with a tokenizer; `changes` are of its configuration."""
    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary), tied=True)
    return random_checkpoint(replace(config, **changes), name="fox", vocabulary=vocabulary)
