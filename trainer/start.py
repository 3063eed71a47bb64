"""The start of a run: the model's shape and first weights, its operators, and its teacher."""

from __future__ import annotations

from pathlib import Path

import torch

from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.formats.hf.rope import scaling_to_hf
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import UsageError

from .adapters import add_adapters
from .config import ModelShape, TrainConfig
from .fused import FusedOperators
from .model import Llama
from .objective import Objective, require_fitting_teacher
from .operators import Operators


def with_shape_of_start(config: TrainConfig) -> TrainConfig:
    """The configuration with the shape of the model to fine-tune; only its context and its RoPE scaling may change.

    Raises UsageError when another setting of `model` contradicts the shape, and LlgenError when the model cannot be
    read.
    """
    if config.start.model is None:
        return config
    own = load_checkpoint(Path(config.start.model)).config
    shape = ModelShape(
        dim=own.dim,
        hidden_dim=own.hidden_dim,
        n_layers=own.n_layers,
        n_heads=own.n_heads,
        n_kv_heads=own.n_kv_heads,
        vocab_size=own.vocab_size,
        max_seq_len=own.max_seq_len,
        tied=own.tied,
        norm_eps=own.norm_eps,
        rope_theta=own.rope_theta,
        rope_scaling=None if own.rope_scaling is None else scaling_to_hf(own.rope_scaling, own.max_seq_len),
    )
    changed = config.model.model_fields_set & {"max_seq_len", "rope_scaling"}
    for key in config.model.model_fields_set - changed:
        asked, found = getattr(config.model, key), getattr(shape, key)
        if asked != found:
            raise UsageError(
                f"model.{key} is {asked}; the model to start from, '{config.start.model}', has {found}",
                f"leave model.{key} out",
            )
    shape = shape.model_copy(update={key: getattr(config.model, key) for key in changed})
    return config.model_copy(update={"model": shape})


def operators(config: TrainConfig) -> Operators:
    """The operators that the model computes with."""
    return FusedOperators() if config.hardware.fused else Operators()


def first_model(config: TrainConfig, device: torch.device) -> Llama:
    """A model with random weights from the seed, or with those of the start model; with adapters if `lora` is set."""
    shape, dropout = config.model.resolved(), config.batch.dropout
    with torch.random.fork_rng(devices=[]):  # the caller's random state must not change
        torch.manual_seed(config.seed)
        model = Llama(shape, dropout)
        if config.start.model is not None:
            weights = Llama.from_checkpoint(load_checkpoint(Path(config.start.model))).state_dict()
            model.load_state_dict(weights)
        if config.start.lora:
            add_adapters(model, config.start.lora)
    model.use(operators(config))
    return model.to(device)


def objective(config: TrainConfig, vocabulary: Vocabulary, device: torch.device) -> Objective:
    """The training loss: cross-entropy, and the divergence from the teacher if the settings name one.

    Raises LlgenError when the teacher's vocabulary or context does not fit a student of `vocabulary`.
    """
    if config.start.teacher is None:
        return Objective(operators(config))
    checkpoint = load_checkpoint(Path(config.start.teacher))
    require_fitting_teacher(checkpoint, vocabulary, config.model.max_seq_len)
    teacher = Llama.from_checkpoint(checkpoint).requires_grad_(False).eval().to(device)
    teacher.use(operators(config))
    return Objective(operators(config), teacher, config.start.teacher_weight, config.start.teacher_temperature)
