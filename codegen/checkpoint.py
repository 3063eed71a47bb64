"""A model directory on disk, in Hugging Face's Llama layout, and the Checkpoint it is read into.

A directory holds `config.json`, `model.safetensors` (or the shards that `model.safetensors.index.json` lists) and,
unless the model speaks token ids alone, `tokenizer.model` (SentencePiece).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from .config import ModelConfig
from .errors import LlgenError
from .hf_config import config_from_hf, config_to_hf
from .vocabulary import Vocabulary

Tensor = npt.NDArray[np.float32]

MODEL_FILES = {"config.json", "model.safetensors", "quantized.safetensors", "tokenizer.model"}
"""What a model directory may hold; weights are float32, or else quantised."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model in memory: what every stage after loading starts from.

    `tensors` maps Hugging Face names to float32 arrays of `config.tensor_shapes()`; wq and wk are in Hugging Face's
    row order (RoPE rotates element i of a head with element i + head_dim / 2).
    """

    name: str
    config: ModelConfig
    tensors: Mapping[str, Tensor]
    vocabulary: Vocabulary | None
    """None: the model has no tokenizer and speaks token ids alone."""

    def __post_init__(self) -> None:
        shapes = self.config.tensor_shapes()
        for name, shape in shapes.items():
            tensor = self.tensors.get(name)
            if tensor is None:
                raise LlgenError(f"tensor '{name}' is missing from model '{self.name}'", "is this a Llama model?")
            if tensor.shape != shape:
                raise LlgenError(f"tensor '{name}' has shape {tensor.shape}; the config asks for {shape}")
            if not np.isfinite(tensor).all():
                bad = int(np.flatnonzero(~np.isfinite(tensor.ravel()))[0])
                raise LlgenError(
                    f"tensor '{name}' holds {tensor.ravel()[bad]} at element {bad}; weights must be finite",
                    "training diverged, or the file is corrupt",
                )
        unknown = sorted(set(self.tensors) - set(shapes))
        if unknown:
            raise LlgenError(
                f"tensor '{unknown[0]}' of model '{self.name}' is none of a Llama model's",
                "biases, adapters and other architectures are not supported",
            )
        if self.vocabulary is not None and len(self.vocabulary) != self.config.vocab_size:
            raise LlgenError(
                f"the tokenizer holds {len(self.vocabulary)} pieces; the model has {self.config.vocab_size}",
                "give the tokenizer that the model was trained with",
            )

    @property
    def sha256(self) -> str:
        """A hash of all that determines the generated C: dimensions, weights and tokenizer."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name in self.config.tensor_shapes():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.tensors[name], dtype="<f4").data)
        if self.vocabulary is not None:
            digest.update(self.vocabulary.proto)
        return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------- reading


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read a model directory.

    Raises LlgenError when a file is missing, malformed, of another architecture, or does not fit the others.
    """
    config = _read_config(directory)
    tensors = _read_tensors(directory)
    if config.tied:
        tensors.pop("lm_head.weight", None)  # some writers store the shared matrix twice
    for name in [name for name in tensors if name.endswith("rotary_emb.inv_freq")]:
        del tensors[name]  # a table that older writers stored; it follows from rope_theta
    tokenizer = directory / "tokenizer.model"
    vocabulary = Vocabulary.from_file(tokenizer) if tokenizer.exists() else None
    return Checkpoint(directory.resolve().name, config, tensors, vocabulary)


def listed_end_ids(directory: Path) -> list[int]:
    """The end tokens of a model directory's config.json, of which ModelConfig keeps the first.

    Raises LlgenError as `load_checkpoint` does.
    """
    first = _read_config(directory).eos_id
    listed = _read_json(directory / "config.json").get("eos_token_id")
    return [value for value in listed if isinstance(value, int)] if isinstance(listed, list) else [first]


def _read_config(directory: Path) -> ModelConfig:
    path = directory / "config.json"
    if (directory / "metrics.jsonl").exists():
        raise LlgenError(f"'{directory}' is a training run", f"its model: {directory / 'model'}")
    if not path.exists():
        raise LlgenError(
            f"'{directory}' is not a model directory: it has no config.json",
            "`llgen import FILE -o DIR` makes one from a checkpoint file",
        )
    return config_from_hf(_read_json(path), path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # malformed, not UTF-8, or nested beyond reason
        raise LlgenError(f"'{path}' is not valid JSON: {error}") from error
    if not isinstance(raw, dict):
        raise LlgenError(f"'{path}' holds no JSON object")
    return raw


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return _read_safetensors(directory / "model.safetensors")
    shards = _read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise LlgenError(f"'{index}' has no weight_map from tensor names to file names")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(shards.values())):
        # The index is untrusted: a shard is a plain file name beside it, never a path out of the directory.
        if not shard.isprintable() or Path(shard).name != shard or (directory / shard).is_symlink():
            raise LlgenError(f"'{index}' names the shard {shard!r}, which is not a plain file of the same directory")
        tensors |= _read_safetensors(directory / shard)
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except FileNotFoundError as error:
        if (path.parent / "quantized.safetensors").exists():
            raise LlgenError(f"'{path.parent}' holds a quantised model", "give the one it was made from") from error
        raise LlgenError(f"'{path.parent}' has no {path.name}", "save the model with safe serialization") from error
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    except SafetensorError as error:
        raise LlgenError(f"'{path}' is not a valid safetensors file: {error}") from error
    return {name: _as_float32(name, entry) for name, entry in entries}


def _as_float32(name: str, entry: Mapping[str, Any]) -> Tensor:
    data, kind = entry["data"], entry["dtype"]
    if kind == "BF16":  # the upper half of a float32
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    elif kind in ("F16", "F32", "F64"):
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused as such
            values = np.frombuffer(data, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[kind]).astype(np.float32)
    else:
        raise LlgenError(f"tensor '{name}' is stored as {kind}; llgen reads F32, F16, BF16 and F64")
    return np.asarray(values, dtype=np.float32).reshape(entry["shape"])


# ---------------------------------------------------------------------------------------------------------- writing


def save_checkpoint(checkpoint: Checkpoint, directory: Path, companions: Mapping[str, bytes] | None = None) -> None:
    """Write a model directory; it appears whole or not at all.

    `companions` are further files, by name, for programs that want more than llgen does.
    Raises LlgenError when `directory` holds other files than these and a model directory's.
    """
    if checkpoint.vocabulary is None and (directory / "tokenizer.model").exists():
        raise LlgenError(
            f"'{directory}' holds a tokenizer.model, and this model would come without one",
            "give --tokenizer, or choose another -o",
        )
    tensors = {name: np.ascontiguousarray(checkpoint.tensors[name]) for name in checkpoint.config.tensor_shapes()}
    content = {
        "config.json": (json.dumps(config_to_hf(checkpoint.config), indent=2) + "\n").encode(),
        "model.safetensors": save(tensors, metadata={"format": "pt"}),
        **(companions or {}),
    }
    if checkpoint.vocabulary is not None:
        content["tokenizer.model"] = checkpoint.vocabulary.proto
    write_model_directory(directory, content)


def write_model_directory(directory: Path, content: Mapping[str, bytes]) -> None:
    """Write the files of a model directory, in place of those of an older one; all appear, or none.

    Raises LlgenError as `require_room` does.
    """
    own = MODEL_FILES | set(content)
    require_room(directory, own)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, data in content.items():
            (temporary / name).write_bytes(data)
        directory.mkdir(exist_ok=True)
        for stale in own - set(content):
            (directory / stale).unlink(missing_ok=True)
        for entry in temporary.iterdir():
            entry.replace(directory / entry.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_room(directory: Path, own: Collection[str] = MODEL_FILES) -> None:
    """Raise LlgenError when a model cannot be written to `directory`: a file, or it holds files that are not `own`."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise LlgenError(f"'{directory}' exists and is a file", "choose another -o")
    foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in own)
    if foreign:
        raise LlgenError(f"'{directory}' holds '{foreign[0]}', which is not llgen's to replace", "choose another -o")
