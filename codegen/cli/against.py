"""`llgen check --against transformers`: compare with a program that has its own reader of the model's files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from llgen.errors import LlgenError, UsageError
from llgen.shown import shown_value

from ..check.against import LIMIT, Agreement, Other, compare, open_with_llama_cpp, require_transformers
from ..formats.detect import Form, detect
from ..formats.hf.directory import load_checkpoint
from ..formats.hf.provenance import require_source
from ..model.checkpoint import Checkpoint
from ..quantise.quantized import is_quantized

_MOST_TEXTS = 5
"""Number of texts with different ids that are printed."""


def require_comparable(against: str | None, source: Path | None, model: Path) -> None:
    """Raise UsageError or LlgenError for what cannot be compared, before any work is done."""
    if against is None:
        if source is not None:
            raise UsageError("--source is for --against", "--against transformers")
        return
    require_transformers()
    if is_quantized(model):
        raise UsageError(
            f"'{model}' holds integers, which {against} does not read", "check the model it was made from"
        )
    if source is not None:
        form = detect(source)
        if form not in (Form.HUGGING_FACE, Form.GGUF):
            raise UsageError(f"--source: '{source}' is {form.value}, which {against} does not read")
        require_source(model, source)


def ask(model: Path, source: Path | None, tokens: Sequence[int]) -> Agreement:
    """Compare the float32 model of a directory with what another program reads from it, or from its source."""
    checkpoint = load_checkpoint(model)
    return compare(checkpoint, _open(source or model, checkpoint, len(tokens)), tokens)


def _open(path: Path, checkpoint: Checkpoint, positions: int) -> Other:
    if path.is_file() and find_spec("llama_cpp"):
        from ..formats.gguf.read import weight_types

        # With other types, llama.cpp also rounds activations; transformers only dequantises the weights.
        if [kind.name for kind in weight_types(path)] == ["F32"]:
            return open_with_llama_cpp(path, positions)
    if path.is_file() and checkpoint.config.rope_scaling is not None:
        raise LlgenError(
            f"transformers ignores the RoPE scaling in a GGUF such as '{path}', so that it computes another model",
            "leave --source out; or install llama-cpp-python, which reads a GGUF of F32 weights",
        )
    from llgen.trainer.transformers_oracle import open_with_transformers  # here, because it imports PyTorch

    return open_with_transformers(path, ids=checkpoint.vocabulary is not None)


def tell(agreement: Agreement, scheme: str, source: Path | None) -> None:
    """Print the result of a comparison."""
    logits = agreement.logits
    read = "the same directory" if source is None else f"'{source}'"
    held = "" if logits.max_difference <= LIMIT else f" DIFFERS, the limit is {LIMIT:.0e}:"
    ours = "" if scheme == "f32" else f" of the float32 model, before rounding to {scheme},"
    click.echo(
        f"  {agreement.by} on {read}:{held} largest difference{ours} {logits.max_difference:.1e} of a row's range, "
        f"KL {logits.kl:.1e} nats, same likeliest token {logits.top1:.1%}"
    )
    for tokens in agreement.around:
        what = "DIFFERS" if tokens.counts else "not counted"
        click.echo(f"    {what}: a text {tokens.what} {_listed(tokens.ours)} here, {_listed(tokens.theirs)} there")
    if agreement.texts == 0:
        click.echo("    no ids compared: the model has no tokenizer")
        return
    different = sorted(agreement.different, key=lambda text: text.spaces)
    click.echo(f"    ids of {agreement.texts - len(different)} of {agreement.texts} texts equal")
    for text in different[:_MOST_TEXTS]:
        what = "unusual spaces, not counted" if text.spaces else "DIFFERS"
        click.echo(
            f"    {what}: {shown_value(text.text)} is {shown_value(text.ours)} here, {shown_value(text.theirs)} there"
        )
    if len(different) > _MOST_TEXTS:
        click.echo(f"    … and {len(different) - _MOST_TEXTS} more; --json lists all")
    if agreement.remark:
        click.echo(f"    {agreement.remark}")


def _listed(tokens: Sequence[int]) -> str:
    return ", ".join(map(str, tokens)) or "no token"


def facts(agreement: Agreement) -> dict[str, Any]:
    """The result of a comparison, for a program."""
    return {
        "by": agreement.by,
        **vars(agreement.logits),
        "limit": LIMIT,
        "texts": agreement.texts,
        "different_ids": [vars(text) for text in agreement.different],
        "different_tokens": [vars(tokens) for tokens in agreement.around],
        "remark": agreement.remark,
        "equal": agreement.holds,
    }
