"""llama2.c's training checkpoints (`.pt`): read, and written so that its train.py, sample.py and export.py take them.

A file is what `torch.save` makes of a dictionary: "model" holds the weights by llama2.c's names, which a compiled model
prefixes with "_orig_mod."; "model_args" the dimensions; "optimizer", "iter_num", "best_val_loss" and "config" the state
of training. It is a pickle, which may name any code to run; it is read with `weights_only`, which runs none.

The rows of wq and wk are in llama2.c's order (codegen/formats/rope_rows.py).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llgen.codegen.checkpoint import Checkpoint
from llgen.codegen.config import ModelConfig
from llgen.codegen.errors import LlgenError
from llgen.codegen.formats.adopt import adopt_tokens
from llgen.codegen.formats.llama2c_header import NORM_EPS, ROPE_THETA, require_representable
from llgen.codegen.formats.output import replacing
from llgen.codegen.formats.rope_rows import to_half_split, to_interleaved
from llgen.codegen.vocabulary import Vocabulary

_COMPILED = "_orig_mod."
_TABLES = re.compile(r"freqs_(cos|sin)|layers\.\d+\.attention\.mask")  # follow from the dimensions
_OUTER = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER = {
    "input_layernorm": "attention_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
}


# ---------------------------------------------------------------------------------------------------------- reading


def read_llama2c_checkpoint(path: Path, vocabulary: Vocabulary | None) -> Checkpoint:
    """Read a training checkpoint's weights, and give them the tokenizer they were trained with.

    Raises LlgenError for a file that is unreadable, asks to run code, is no checkpoint of llama2.c's, or whose weights
    do not fit its dimensions.
    """
    saved = _load(path)
    state, args = saved.get("model"), saved.get("model_args")
    if not isinstance(state, dict) or not isinstance(args, dict):
        raise LlgenError(
            f"'{path}' is no llama2.c checkpoint: it has no 'model' and 'model_args'",
            "of other PyTorch models, save a Hugging Face directory and import that",
        )
    weights = _weights(state, path)
    config = adopt_tokens(_config(args, weights, path), vocabulary)
    names = {name: _llama2c_name(name) for name in config.tensor_shapes()}
    foreign = sorted(set(weights) - {*names.values(), "output.weight"})
    if foreign:
        raise LlgenError(f"'{path}' has a tensor '{foreign[0]}', which llama2.c's model has not")
    tensors = {
        name: to_half_split(name, weights[stored].float().numpy(), config.head_dim)
        for name, stored in names.items()
        if stored in weights  # Checkpoint names one that is missing
    }
    return Checkpoint(path.stem, config, tensors, vocabulary)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _refused_names(path, str(error))
        if not wanted:
            raise LlgenError(f"'{path}' is damaged, or no PyTorch file", "copy or download it again") from error
        raise LlgenError(
            f"'{path}' holds more than weights: loading it would call {', '.join(wanted)}; nothing of it was run",
            "where you made it, and if you did, save {'model': …, 'model_args': …} alone, of tensors and plain numbers",
        ) from error
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror or error}") from error
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise LlgenError(f"'{path}' is damaged, or no PyTorch file: {reason}", "copy or download it again") from error
    if not isinstance(saved, dict):
        raise LlgenError(f"'{path}' holds a {type(saved).__name__}, not the dictionary of a llama2.c checkpoint")
    return saved


def _refused_names(path: Path, reason: str) -> list[str]:
    """What the pickle names and `weights_only` does not allow; found without unpickling."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError, pickle.UnpicklingError):  # a file as torch before 1.6 wrote it
        return re.findall(r"GLOBAL ([\w.]+)", reason)


def _weights(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = str(key).removeprefix(_COMPILED)
        if _TABLES.fullmatch(name):
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout is not torch.strided:
            raise LlgenError(f"'{path}': '{name}' is no tensor of floating-point numbers")
        weights[name] = tensor
    return weights


def _config(args: Mapping[Any, Any], weights: Mapping[str, Tensor], path: Path) -> ModelConfig:
    def whole(key: str) -> int:
        value = args.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise LlgenError(f"'{path}' has model_args['{key}'] = {value!r}; it must be a whole number")
        return value

    def weight(name: str) -> Tensor:
        if name not in weights or weights[name].dim() != 2:
            raise LlgenError(f"'{path}' has no matrix '{name}', which every llama2.c checkpoint has")
        return weights[name]

    norm_eps = args.get("norm_eps", NORM_EPS)
    if not isinstance(norm_eps, float):
        raise LlgenError(f"'{path}' has model_args['norm_eps'] = {norm_eps!r}; it must be a number")
    dim, heads = whole("dim"), whole("n_heads")
    if heads < 1 or dim % heads:
        raise LlgenError(f"'{path}': dim is {dim}, which n_heads {heads} does not divide")
    classifier = weights.get("output.weight")
    return ModelConfig(
        dim=dim,
        hidden_dim=weight("layers.0.feed_forward.w1.weight").shape[0],  # model_args may only tell how it was chosen
        n_layers=whole("n_layers"),
        n_heads=heads,
        n_kv_heads=heads if args.get("n_kv_heads") is None else whole("n_kv_heads"),
        head_dim=dim // heads,
        vocab_size=whole("vocab_size"),
        max_seq_len=whole("max_seq_len"),
        norm_eps=norm_eps,
        rope_theta=ROPE_THETA,
        tied=classifier is None or torch.equal(classifier, weight("tok_embeddings.weight")),
    )


# ---------------------------------------------------------------------------------------------------------- writing


def write_llama2c_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a training checkpoint, which appears whole or not at all.

    It holds no optimizer: llama2.c's train.py goes on from it with fresh moments.
    Raises LlgenError for a model that llama2.c has no place for, or a `path` that cannot be written.
    """
    config = checkpoint.config
    require_representable(config, norm_eps_stored=True)
    state = {
        _llama2c_name(name): torch.from_numpy(to_interleaved(name, checkpoint.tensors[name], config.head_dim).copy())
        for name in config.tensor_shapes()
    }
    state.setdefault("output.weight", state["tok_embeddings.weight"])
    saved = {
        "model": state,
        "model_args": _model_args(config),
        "iter_num": 0,
        "best_val_loss": 1e9,
        "config": {},
    }
    # A file, not a path: torch would write its name into the archive.
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(saved, file)


def _model_args(config: ModelConfig) -> dict[str, int | float]:
    return {
        "dim": config.dim,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "vocab_size": config.vocab_size,
        "hidden_dim": config.hidden_dim,
        "multiple_of": _multiple_of(config),
        "norm_eps": config.norm_eps,
        "max_seq_len": config.max_seq_len,
        "dropout": 0.0,
    }


def _multiple_of(config: ModelConfig) -> int:
    """What makes llama2.c's train.py, which ignores hidden_dim when it resumes, come upon it: 8/3 dim, rounded up.

    Its own default where no number does, for a hidden_dim below that.
    """
    least = 8 * config.dim // 3
    fitting = (step for step in range(1, config.hidden_dim + 1) if -(-least // step) * step == config.hidden_dim)
    return next(fitting, 32)


def _llama2c_name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    layer, _, module = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"layers.{layer}.{_LAYER[module]}.weight"
