"""What a run begins with: the model's shape and first weights, and the teacher it listens to."""

from __future__ import annotations

from pathlib import Path

import torch

from llgen.codegen.checkpoint import load_checkpoint
from llgen.codegen.errors import UsageError
from llgen.codegen.vocabulary import Vocabulary

from .adapters import add_adapters
from .config import ModelShape, TrainConfig
from .fused import FusedOperators
from .model import Llama
from .objective import Objective, require_fitting_teacher
from .operators import Operators


def with_shape_of_start(config: TrainConfig) -> TrainConfig:
    """The configuration with the shape of the model to fine-tune, of which only the context may be chosen.

    Raises UsageError when another setting of `model` contradicts it, and LlgenError when there is no such model.
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
    )
    for key in config.model.model_fields_set - {"max_seq_len"}:
        asked, found = getattr(config.model, key), getattr(shape, key)
        if asked != found:
            raise UsageError(
                f"model.{key} is {asked}; the model to start from, '{config.start.model}', has {found}",
                f"leave model.{key} out",
            )
    if "max_seq_len" in config.model.model_fields_set:
        shape = shape.model_copy(update={"max_seq_len": config.model.max_seq_len})
    return config.model_copy(update={"model": shape})


def operators(config: TrainConfig) -> Operators:
    """What the model is computed by."""
    return FusedOperators() if config.hardware.fused else Operators()


def first_model(config: TrainConfig, device: torch.device) -> Llama:
    """Random weights by the seed, or those of the model to start from, with adapters if asked for."""
    shape, dropout = config.model.resolved(), config.batch.dropout
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to change
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
    """Cross-entropy, with a teacher's opinion where one is named.

    Raises LlgenError when the teacher's vocabulary or context does not suit a student of `vocabulary`.
    """
    if config.start.teacher is None:
        return Objective(operators(config))
    checkpoint = load_checkpoint(Path(config.start.teacher))
    require_fitting_teacher(checkpoint, vocabulary, config.model.max_seq_len)
    teacher = Llama.from_checkpoint(checkpoint).requires_grad_(False).eval().to(device)
    teacher.use(operators(config))
    return Objective(operators(config), teacher, config.start.teacher_weight, config.start.teacher_temperature)
