"""llgen for Python programs: load a model, build it, check it. `import llgen` provides these functions."""

from __future__ import annotations

from pathlib import Path

from llgen.paths import Pathlike
from llgen.targets.schema import Target, load_target

from .build.folder import DIGEST_POSITIONS, Build
from .build.folder import build as build_folder
from .check.verify import Verdict, verify
from .formats.detect import read_any
from .quantise.quantize import QuantModel, quantized
from .quantise.quantized import read_model


def load(
    source: Pathlike,
    *,
    scheme: str | None = None,
    kv: str | None = None,
    context: int | None = None,
    tokenizer: Pathlike | None = None,
) -> QuantModel:
    """Read a model from a directory, or from any file that `llgen import` reads, in a number format.

    `scheme` is f32, q8 or q4; `kv` is the format of keys and values; `context` is the number of positions to build
    for. None means the model's own. `tokenizer`, a file, replaces the model's tokenizer. Raises LlgenError for a file
    that cannot be read, UsageError for a scheme or cache format that does not exist or does not suit the model.
    """
    if tokenizer is None and Path(source).is_dir():
        return read_model(source, scheme, kv, context)
    return quantized(read_any(source, tokenizer), scheme or "f32", kv, context)


def build(
    model: QuantModel | Pathlike,
    directory: Pathlike,
    *,
    target: Target | Pathlike = "host",
    name: str | None = None,
    prefill: int | None = None,
) -> Build:
    """Generate C for a model and compile it into `directory`, as `llgen build` does.

    `target` is a name, a TOML file or a Target. `name` is the prefix of the C names, by default the model's name.
    `prefill` is the number of prompt positions that are evaluated together. Raises LlgenError when the model does not
    fit the target (exit_code DOES_NOT_FIT), or when a stage fails.
    """
    return build_folder(_model(model), _target(target), directory, prefix=name, prefill=prefill)


def check(
    model: QuantModel | Pathlike, *, target: Target | Pathlike = "host", positions: int = DIGEST_POSITIONS
) -> Verdict:
    """Build for a target, run the program there or in an emulator, and compare it bit for bit with the NumPy reference.

    The first `positions` positions are compared, at most the context. `Verdict.equal` is None when the program could
    not run; `Verdict.skipped` then says why. Raises LlgenError when building or running fails.
    """
    return verify(_model(model), _target(target), positions, counts=False, progress=lambda what: None)


def _model(model: QuantModel | Pathlike) -> QuantModel:
    return model if isinstance(model, QuantModel) else load(model)


def _target(target: Target | Pathlike) -> Target:
    return target if isinstance(target, Target) else load_target(target)
