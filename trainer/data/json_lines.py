"""JSON lines: each line is an object, and one field of it holds the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.shown import shown_error, shown_list

USUAL_FIELD = "text"

_OTHER_JSON = re.compile(rb'\s*(\[\s*\{\s*"|\{\s*\n\s*")')
"""The start of an array of objects, or of an object on several lines."""


def is_json_lines(head: bytes) -> bool:
    """Whether a file that begins with `head` is JSON lines.

    The first line decides; if `head` ends within the first line, the start of that line decides.
    """
    first, end, _ = head.lstrip().partition(b"\n")
    if not first.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return not end and first.startswith(b'{"')


def refuse_other_json(head: bytes, file: Path) -> None:
    """Raise LlgenError for JSON in another form, which would otherwise be read as prose."""
    if _OTHER_JSON.match(head):
        raise LlgenError(
            f"'{file}' is JSON, but not one object per line",
            "convert it, e.g. by `jq -c '.[]'`; or --separator, to read it as plain text",
        )


def texts(lines: Iterable[str], file: Path, field: str) -> Iterator[str]:
    """The text in `field` of each line, without empty lines; `a.b` is the field b inside the field a.

    Raises LlgenError that names the line when the line is not JSON, has no such field, or the field is not text.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"'{file}', line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LlgenError(f"{where} is not JSON: {shown_error(error)}", "one object per line") from error
        yield _text_of(record, field, where)


def _text_of(record: Any, field: str, where: str) -> str:
    value = record
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            there = shown_list([str(name) for name in value]) if isinstance(value, dict) else "no object"
            raise LlgenError(
                f"{where} has no field '{field}'; its fields: {there}", "--field NAME, or a.b for b inside a"
            )
        value = value[key]
    if not isinstance(value, str):
        raise LlgenError(f"{where}: the field '{field}' holds {type(value).__name__}, not text", "--field NAME")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise LlgenError(
            f"{where}: the text holds \\u{ord(value[error.start]):04x}, half of a character",
            "correct or delete the line",
        ) from error
    return value
