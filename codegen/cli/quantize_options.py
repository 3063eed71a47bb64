"""Checks of the options of `llgen quantize` against each other, and the budget that the options ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llgen.errors import UsageError
from llgen.targets.schema import Target
from llgen.trainer.quantize.course import MOST_CALIBRATED

from .options import need_torch

if TYPE_CHECKING:
    from llgen.trainer.quantize.allocate import Budget


def require_sense(scheme: str, method: str, bits: str | None, flash: str | None) -> None:
    """Raise UsageError for options that do not go together."""
    if bits is not None and (scheme != "q4" or method == "rtn"):
        raise UsageError("--bits chooses 8, 6, 5 or 4 bits by measuring", "--scheme q4 and --method gptq or distill")
    if (flash is not None) != (bits == "auto"):
        raise UsageError("--bits auto and --flash SIZE go together", "both; or --bits 5.0, an average; or neither")


def require_texts(method: str, calibrate: Path | None, documents: int | None, written: int | None) -> None:
    """Raise UsageError for texts that the method does not read, and when the method would have no text."""
    for option, value in (("--calibrate", calibrate), ("--documents", documents), ("--written", written)):
        if value is not None and method == "rtn":
            raise UsageError("--method rtn uses no calibration text", f"leave {option} out, or --method gptq")
    if calibrate is None and documents is not None:
        raise UsageError("--documents needs --calibrate", "--calibrate TEXT; or --written, for the model's texts")
    if calibrate is None and written == 0:
        raise UsageError("--written 0 leaves no text to calibrate on", "--calibrate TEXT, or some written")
    for option, value in (("--documents", documents), ("--written", written)):
        if method == "gptq" and value is not None and value > MOST_CALIBRATED:
            raise UsageError(
                f"{option} is {value:,}; GPTQ uses at most {MOST_CALIBRATED} texts, and gains nothing from more",
                f"{option} {MOST_CALIBRATED}, or leave it out; or --method distill",
            )
    if calibrate is not None and written and method == "gptq":
        raise UsageError("--method gptq uses one kind of text", "--calibrate or --written; or --method distill")


def require_distilling(
    method: str, calibrate: Path | None, iterations: int | None, teacher_weight: float | None
) -> None:
    """Raise UsageError for options of distillation with another method, and for options without an effect."""
    for option, value in (("--iterations", iterations), ("--teacher-weight", teacher_weight)):
        if value is not None and method != "distill":
            raise UsageError(f"--method {method} has no {option}", "--method distill")
    if teacher_weight is not None and calibrate is None:
        raise UsageError("--teacher-weight needs --calibrate", "--calibrate TEXT, or leave it out")


def require_fields(calibrate: Path | None, data: Path | None, field: str | None, separator: str | None) -> None:
    """Raise UsageError for options on the form of a text when there is no text."""
    if calibrate is None and data is None and (field or separator):
        raise UsageError("--field and --separator need --data or --calibrate", "name a text, or leave them out")


def budget_of(bits: str | None, flash: str | None, target: Target) -> Budget | None:
    """The budget that --bits and --flash ask for; None without these options.

    Raises UsageError for what is neither a number nor auto, LlgenError where PyTorch is not installed.
    """
    if bits is None:
        return None
    limit = _bytes(flash) if flash is not None else _average(bits)
    need_torch("--bits")
    from llgen.trainer.quantize.allocate import BitsBudget, FlashBudget

    return FlashBudget(limit, target) if isinstance(limit, int) else BitsBudget(limit)


def _average(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 4.0 <= value <= 9.0:
        raise UsageError(f"--bits is '{text}'", "auto, with --flash; or an average from 4 to 9, such as 5.0")
    return value


def _bytes(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in units else (text, "")
    try:
        value = int(float(number) * units.get(unit, 1))
    except (ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise UsageError(f"--flash is '{text}'", "bytes, or 200K, or 1.5M")
    return value
