"""A quantised model on disk, and reading a model of either kind.

Rounding to nearest takes a moment and is done whenever a model is built; what calibration or training found is kept.
Such a directory holds `config.json` (the shape, by Hugging Face's names, and under `llgen_quantization` the scheme,
the cache, the mixing and each matrix's bits), `quantized.safetensors` and what companions.py makes. The matrix NAME of
`QuantModel.matrices` is stored as `NAME.integers` (int8), `NAME.scales` (float32) and, when it has fewer than 8 bits,
`NAME.multipliers` (int8).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from llgen.errors import LlgenError, UsageError
from llgen.lfs import refuse_pointer
from llgen.paths import Pathlike
from llgen.shown import shown, shown_error

from ..contract.matrix import GROUP, LEVELS, MAX_MULTIPLIER, SMALLEST_SCALE, IntMatrix, Matrix
from ..contract.numerics import Array, flush_subnormals
from ..formats.hf.companions import companions
from ..formats.hf.config import config_from_hf, config_to_hf
from ..formats.hf.directory import load_checkpoint, model_name
from ..formats.hf.folder import CONFIG, QUANTIZED, write_model_directory
from ..formats.hf.tokenizer_files import read_tokens
from ..formats.hf.weights import read_json
from ..model.architectures import graph_of
from ..model.config import ModelConfig
from ..model.spec import rope_tables
from .fold import SCHEMES
from .quantize import CACHES, QuantModel, matrix_shapes, model_sha256, quantized

_SECTION = "llgen_quantization"


def read_model(
    directory: Pathlike, scheme: str | None = None, kv: str | None = None, context: int | None = None
) -> QuantModel:
    """The model of a directory: a float32 one in the numbers of `scheme`, None being float32; a quantised one as it is.

    Raises LlgenError as `load_checkpoint` does, UsageError when another scheme is asked for than a quantised one has.
    """
    directory = Path(directory)
    if not is_quantized(directory):
        return quantized(load_checkpoint(directory), scheme or "f32", kv, context)
    model = load_quantized(directory, kv)
    if scheme not in (None, model.scheme):
        raise UsageError(f"'{directory}' holds a model in scheme {model.scheme}, not {scheme}", "leave --scheme out")
    return model.for_context(context)


def is_quantized(directory: Path) -> bool:
    """Whether a directory holds what `save_quantized` writes."""
    return (directory / QUANTIZED).is_file()


def save_quantized(model: QuantModel, directory: Pathlike, more: Mapping[str, bytes] | None = None) -> None:
    """Write a quantised model, and `more` files, by name.

    Raises LlgenError when the directory holds other things.
    """
    directory = Path(directory)
    facts = {
        "scheme": model.scheme,
        "kv": model.kv,
        "context": model.context,
        "gain_block": model.gain_block,
        "bits": {name: matrix.bits for name, matrix in model.matrices.items()},
        "error": dict(model.error),
    }
    config = {**config_to_hf(model.config), _SECTION: facts}
    content = {
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        QUANTIZED: save(_arrays(model), metadata={"format": "llgen"}),
        **companions(model.config, model.vocabulary),
        **(more or {}),
    }
    write_model_directory(directory, content)


def load_quantized(directory: Pathlike, kv: str | None = None) -> QuantModel:
    """Read what `save_quantized` wrote, with another cache if `kv` names one.

    Raises LlgenError when a file is missing, malformed, or does not fit the others.
    """
    directory = Path(directory)
    path, weights = directory / CONFIG, directory / QUANTIZED
    try:
        raw = read_json(path)
        facts = raw[_SECTION]
        data = weights.read_bytes()
        refuse_pointer(data, weights)
        arrays = load(data)
        config = config_from_hf({key: value for key, value in raw.items() if key != _SECTION}, path)
        scheme, cache, context = str(facts["scheme"]), kv or str(facts["kv"]), int(facts["context"])
        gain_block = int(facts.get("gain_block", 1))
        bits = {str(name): int(value) for name, value in facts["bits"].items()}
        error = {str(name): float(value) for name, value in facts["error"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error_:
        raise LlgenError(
            f"'{directory}' holds no readable quantised model: {shown_error(error_)}", "llgen quantize"
        ) from error_
    _require_sound(config, scheme, cache, context, path)
    matrices = {
        name: _matrix(arrays, name, shape, bits.get(name), weights) for name, shape in matrix_shapes(config).items()
    }
    for name in graph_of(config).only_looked_up:
        if matrices[name].bits != 8:
            raise LlgenError(
                f"'{weights}' has an {name} of {matrices[name].bits} bits and a classifier besides", "llgen quantize"
            )
    if not _mixes(gain_block, config):
        raise LlgenError(
            f"'{path}' mixes channels by {gain_block}, which does not suit {config.dim} of them", "llgen quantize"
        )
    final_gain = _gain(arrays, config, weights)
    config, vocabulary = read_tokens(directory, raw, config)
    cos, sin = rope_tables(config, context)
    return QuantModel(
        name=model_name(directory),
        sha256=model_sha256(config, matrices, final_gain, gain_block, vocabulary),
        scheme=scheme,
        kv=cache,
        config=config,
        context=context,
        matrices=matrices,
        final_gain=final_gain,
        gain_block=gain_block,
        rope_cos=cos,
        rope_sin=sin,
        error=error,
        vocabulary=vocabulary,
    )


def _require_sound(config: ModelConfig, scheme: str, cache: str, context: int, path: Path) -> None:
    for key, value, sound, known in (
        ("scheme", scheme, scheme in SCHEMES[1:], ", ".join(SCHEMES[1:])),
        ("kv", cache, cache in CACHES, ", ".join(CACHES)),
        ("context", context, 1 <= context <= config.max_seq_len, f"1 to {config.max_seq_len}"),
    ):
        if not sound:
            raise LlgenError(f"'{path}' has the {key} {shown(str(value))}, which is none of {known}", "llgen quantize")


def _arrays(model: QuantModel) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, matrix in model.matrices.items():
        arrays |= {f"{name}.{part}": array for part, array in matrix.arrays().items()}
    if model.final_gain is not None:
        arrays["final_gain"] = model.final_gain
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _matrix(
    arrays: dict[str, npt.NDArray[Any]], name: str, shape: tuple[int, int], bits: int | None, path: Path
) -> Matrix:
    """Nothing that the kernels rely on is taken on trust: shapes, types, ranges."""
    integers, scales = arrays.get(f"{name}.integers"), arrays.get(f"{name}.scales")
    multipliers = arrays.get(f"{name}.multipliers")
    if integers is None or scales is None or bits is None:
        raise LlgenError(f"'{path}' has no matrix '{name}'", "llgen quantize makes it anew")
    low, high = LEVELS.get(bits, (0, 0))
    groups = (shape[0], -(-shape[1] // GROUP))
    sound = (
        bits in LEVELS
        and (multipliers is None) == (bits == 8)
        and _is(integers, shape, "int8")
        and _is(scales, shape[:1], "float32")
        and (multipliers is None or (_is(multipliers, groups, "int8") and bool((multipliers >= -MAX_MULTIPLIER).all())))
        and bool(((integers >= low) & (integers <= high)).all())
        and bool((np.isfinite(scales) & (scales.view(np.uint32) & np.uint32(0xFFFF) == 0)).all())
        and bool((scales >= SMALLEST_SCALE).all())
    )
    if not sound:
        raise LlgenError(f"'{path}' has a matrix '{name}' of another form than its config asks for", "llgen quantize")
    return IntMatrix(bits, integers, scales, multipliers)


def _gain(arrays: dict[str, npt.NDArray[Any]], config: ModelConfig, path: Path) -> Array | None:
    """The last norm's gain, which is there when the embedding is the classifier."""
    gain = arrays.get("final_gain") if config.tied else None
    if config.tied and not (gain is not None and _is(gain, (config.dim,), "float32") and np.isfinite(gain).all()):
        raise LlgenError(f"'{path}' has no sound final_gain of {config.dim} numbers", "llgen quantize makes it anew")
    return None if gain is None else flush_subnormals(gain)


def _mixes(block: int, config: ModelConfig) -> bool:
    """Whether there is such a transform of the last vector: a power of two, and a gain that stands by itself."""
    return block == 1 or (config.tied and block > 1 and block & (block - 1) == 0 and config.dim % block == 0)


def _is(array: npt.NDArray[Any], shape: tuple[int, ...], kind: str) -> bool:
    return array.shape == shape and array.dtype.name == kind
