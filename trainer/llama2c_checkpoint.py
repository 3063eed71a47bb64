"""Reads and writes llama2.c's training checkpoints (`.pt`), for its train.py, sample.py and export.py.

A file is a dictionary saved by `torch.save`. "model" holds the weights by llama2.c's names; a compiled model adds the
prefix "_orig_mod.". "model_args" holds the dimensions; "optimizer", "iter_num", "best_val_loss" and "config" hold the
state of training. The file is a pickle, which can name any code to run; `weights_only` reads it without running code.

The rows of wq and wk are in llama2.c's order (codegen/formats/rope_rows.py).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llgen.codegen.formats.llama2c.header import NORM_EPS, ROPE_THETA, require_representable
from llgen.codegen.formats.llama2c.tokens import adopt_llama2c
from llgen.codegen.formats.rope_rows import to_half_split, to_interleaved
from llgen.codegen.model.architectures import tensor_shapes
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.text_tokens import Claim
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer_file
from llgen.shown import shown, shown_list, shown_value
from llgen.whole import replacing

_COMPILED = "_orig_mod."
_TABLES = re.compile(r"freqs_(cos|sin)|layers\.\d+\.attention\.mask")  # tables that follow from the dimensions
_TABLE_ERROR = 0.02
"""Tolerance for a table of cosines: bfloat16 and angles in float32 differ by less, another base by far more."""
_ARGS = frozenset(
    [
        "dim",
        "dropout",
        "hidden_dim",
        "max_seq_len",
        "multiple_of",
        "n_heads",
        "n_kv_heads",
        "n_layers",
        "norm_eps",
        "vocab_size",
    ]
)
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


def read_llama2c_checkpoint(path: Path, vocabulary: Vocabulary | None, said: Sequence[Claim] = ()) -> Checkpoint:
    """Read the weights of a training checkpoint, and combine them with the tokenizer that they were trained with.

    `said` is what the file of the tokenizer says besides its pieces.

    Raises LlgenError for a file that is unreadable, asks to run code, is not a checkpoint of llama2.c, or whose weights
    do not fit its dimensions.
    """
    saved = _load(path)
    state, args = saved.get("model"), saved.get("model_args")
    if not isinstance(state, dict) or not isinstance(args, dict):
        raise LlgenError(
            f"'{path}' is not a llama2.c checkpoint: it has no 'model' and 'model_args'",
            "save another PyTorch model as a Hugging Face directory, and import that",
        )
    weights = _weights(state, path)
    config, vocabulary = adopt_llama2c(_config(args, weights, path), vocabulary, said)
    _require_usual_rotation(state, config, path)
    names = {name: _llama2c_name(name) for name in tensor_shapes(config)}
    foreign = sorted(set(weights) - {*names.values(), "output.weight"})
    if foreign:
        raise LlgenError(f"'{path}' has a tensor '{shown(foreign[0])}', which llama2.c's model does not have")
    tensors = {
        name: to_half_split(name, weights[stored].float().numpy(), config)
        for name, stored in names.items()
        if stored in weights  # `Checkpoint` reports a missing one
    }
    return Checkpoint(path.stem, config, tensors, vocabulary)


def _load(path: Path) -> Mapping[str, Any]:
    refuse_pointer_file(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _refused_names(path, str(error))
        if not wanted:
            raise LlgenError(f"'{path}' is damaged, or no PyTorch file", "copy or download it again") from error
        raise LlgenError(
            f"'{path}' holds more than weights: loading it would call {shown_list(wanted)}; llgen did not run it",
            "if you trust it, load it in Python and save only {'model': …, 'model_args': …}: tensors and plain numbers",
        ) from error
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror or error}") from error
    except Exception as error:  # damaged bytes can raise any exception
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise LlgenError(
            f"'{path}' is damaged, or no PyTorch file: {shown(reason, 200)}", "copy or download it again"
        ) from error
    if not isinstance(saved, dict):
        raise LlgenError(f"'{path}' holds a {type(saved).__name__}, not the dictionary of a llama2.c checkpoint")
    return saved


def _refused_names(path: Path, reason: str) -> list[str]:
    """The names in the pickle that `weights_only` does not allow; found without unpickling."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError, pickle.UnpicklingError):  # a file written by torch before 1.6
        return re.findall(r"GLOBAL ([\w.]+)", reason)


def _weights(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = str(key).removeprefix(_COMPILED)
        if _TABLES.fullmatch(name):
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout is not torch.strided:
            raise LlgenError(f"'{path}': '{shown(name)}' is not a tensor of floating-point numbers")
        weights[name] = tensor
    return weights


def _require_usual_rotation(state: Mapping[Any, Any], config: ModelConfig, path: Path) -> None:
    """Raise LlgenError when a table of the rotation, which older checkpoints store, has another base."""
    for function in (torch.cos, torch.sin):
        name = f"freqs_{function.__name__}"
        table = state.get(name, state.get(_COMPILED + name))
        if not isinstance(table, Tensor):
            continue
        turns = config.rope_theta ** (-torch.arange(0, config.head_dim, 2) / config.head_dim)
        expected = function(torch.outer(torch.arange(len(table) if table.dim() else 0), turns))
        if table.shape != expected.shape or not torch.allclose(table.float(), expected, atol=_TABLE_ERROR):
            raise LlgenError(
                f"'{path}' has a table {name} that differs from llama2.c's rotation, base {config.rope_theta:g}"
            )


def _config(args: Mapping[Any, Any], weights: Mapping[str, Tensor], path: Path) -> ModelConfig:
    def whole(key: str) -> int:
        value = args.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise LlgenError(f"'{path}' has model_args['{key}'] = {shown_value(value)}; it must be an integer")
        return value

    def weight(name: str) -> Tensor:
        if name not in weights or weights[name].dim() != 2:
            raise LlgenError(f"'{path}' has no matrix '{name}', which every llama2.c checkpoint has")
        return weights[name]

    for key, value in args.items():
        nothing = value is None or (isinstance(value, int | float) and value == 0)
        if key not in _ARGS and not nothing:  # llama2.c's model would not accept it either
            raise LlgenError(
                f"'{path}' has model_args['{shown(str(key))}'] = {shown_value(value)},"
                " which llama2.c's model does not have"
            )
    norm_eps = args.get("norm_eps", NORM_EPS)
    if not isinstance(norm_eps, float):
        raise LlgenError(f"'{path}' has model_args['norm_eps'] = {shown_value(norm_eps)}; it must be a number")
    dim, heads = whole("dim"), whole("n_heads")
    if heads < 1 or dim % heads:
        raise LlgenError(f"'{path}': dim is {dim}, which n_heads {heads} does not divide")
    classifier = weights.get("output.weight")
    return ModelConfig(
        dim=dim,
        hidden_dim=weight("layers.0.feed_forward.w1.weight").shape[
            0
        ],  # model_args may hold only the rule by which it was chosen
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
    """Write a training checkpoint; the file is written whole or not at all.

    It holds no optimiser state: llama2.c's train.py continues from it with moments of zero.
    Raises LlgenError for a model that llama2.c cannot represent, or a `path` that cannot be written.
    """
    config = checkpoint.config
    require_representable(config, norm_eps_stored=True)
    state = {
        _llama2c_name(name): torch.from_numpy(to_interleaved(name, checkpoint.tensors[name], config).copy())
        for name in tensor_shapes(config)
    }
    state.setdefault("output.weight", state["tok_embeddings.weight"])
    saved = {
        "model": state,
        "model_args": _model_args(config),
        "iter_num": 0,
        "best_val_loss": 1e9,
        "config": {},
    }
    # An open file, not a path: torch would write the name of the path into the archive.
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
    """The smallest `multiple_of` with which llama2.c's train.py gets `hidden_dim`: 8/3 dim, rounded up to a multiple.

    train.py ignores hidden_dim when it resumes. When no multiple gives hidden_dim, llama2.c's default is returned.
    """
    least = 8 * config.dim // 3
    fitting = (step for step in range(1, config.hidden_dim + 1) if -(-least // step) * step == config.hidden_dim)
    return next(fitting, 32)


def _llama2c_name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    layer, _, module = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"layers.{layer}.{_LAYER[module]}.weight"
