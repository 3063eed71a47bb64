"""The table at the end of `llgen quantize`: size and cost of each scheme."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llgen.targets.schema import Target

from ..model.checkpoint import Checkpoint
from ..model.spec import lower
from ..pack.estimate import Estimate, estimate
from ..quantise.quantize import QuantModel, quantize
from .output import spinner
from .tables import aligned

if TYPE_CHECKING:
    from llgen.trainer.data import Source
    from llgen.trainer.quantize.compare import Comparison


@dataclass(frozen=True)
class Row:
    """Size and cost of one scheme."""

    method: str
    model: QuantModel
    size: Estimate
    cost: Comparison | None


def rows_of(
    checkpoint: Checkpoint, result: QuantModel, method: str, target: Target, data: Source | None, documents: int
) -> dict[str, Row]:
    """By scheme: the result and the alternatives, measured on at most `documents` documents of `data`.

    Raises LlgenError when it holds no text.
    """
    spec = lower(checkpoint)
    models = {"f32": ("-", quantize(spec, "f32"))}
    for scheme in ("q8", "q4"):
        other = ("rtn", quantize(spec, scheme, result.kv))
        models[scheme] = (method, result) if scheme == result.scheme else other
    costs: Mapping[str, Comparison] = {}
    if data is not None:
        with spinner("measuring what it costs") as progress:
            costs = _costs(checkpoint, {name: model for name, (_, model) in models.items()}, data, documents, progress)
    return {
        name: Row(method, model, estimate(model, target), costs.get(name)) for name, (method, model) in models.items()
    }


def _costs(
    checkpoint: Checkpoint,
    models: Mapping[str, QuantModel],
    data: Source,
    documents: int,
    progress: Callable[[str], None],
) -> dict[str, Comparison]:
    from llgen.trainer.quantize.compare import Contender, compare

    contenders = {name: Contender.of(model) for name, model in models.items()}
    assert checkpoint.vocabulary is not None
    return compare(
        contenders["f32"],
        contenders,
        checkpoint.vocabulary,
        data.documents(),
        documents,
        lambda done: progress(f"measuring what it costs: {done:,} documents"),
    )


def as_json_rows(rows: Mapping[str, Row]) -> dict[str, Any]:
    """For a program, by scheme."""
    return {
        name: {
            "method": row.method,
            "bits_a_weight": row.model.bits_a_weight,
            "flash_bytes": row.size.flash_bytes,
            "ram_bytes": row.size.ram_bytes,
            **({} if row.cost is None else vars(row.cost)),
        }
        for name, row in rows.items()
    }


def table(rows: Mapping[str, Row], target: Target) -> list[str]:
    """Lines for a person; the last line explains the columns."""
    head = ["scheme", "method", "bits", "flash", "RAM"]
    costs = [row.cost for row in rows.values() if row.cost is not None]
    if costs:
        head += ["nats", "perplexity", "KL", "same likeliest"]
    told = f"flash and RAM in bytes on {target.name}, with an estimate for code"
    if costs:
        told += f"; nats per token and KL over {costs[0].documents:,} documents, {costs[0].tokens:,} tokens"
    return [*aligned([head, *(_words(name, row) for name, row in rows.items())]), told]


def _words(name: str, row: Row) -> list[str]:
    words = [name, row.method, f"{row.model.bits_a_weight:.2f}"]
    words += [f"{row.size.flash_bytes:,}", f"{row.size.ram_bytes:,}"]
    if row.cost is None:
        return words
    return [*words, f"{row.cost.nats_per_token:.4f}", str(row.cost), f"{row.cost.kl:.4f}", f"{row.cost.top1:.1%}"]
