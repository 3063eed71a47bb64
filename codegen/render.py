"""Rendering: a CodegenContext becomes the text of every generated file. Nothing here touches the disk's output side."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files

import jinja2
from jinja2.ext import Extension

from llgen.targets.schema import Target

from . import literals
from .context import CodegenContext
from .kernels import KernelSet
from .machine import program_templates
from .pack import PackedTensor

FileSet = Mapping[str, bytes]
"""Path, relative to the output directory, -> content."""

_WEIGHTS_FILE_BYTES = 8 << 20
"""One weights file holds about so many bytes, to bound the compiler's memory; an array is never divided."""


class _ControlLines(Extension):
    """Reads a line `//% …` as the block tag `{% … %}`.

    Jinja's own line statements swallow the blank lines behind them; a block tag takes its line alone.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"^[ ]*//%(.*)$", r"{%\1 %}", source, flags=re.MULTILINE)


@cache
def environment() -> jinja2.Environment:
    """The one Jinja environment: templates are C with `//%` control lines, and an undefined name is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("llgen.templates", ""),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=[_ControlLines],
    )


def render(context: CodegenContext, kernels: KernelSet, tensors: Sequence[PackedTensor], target: Target) -> FileSet:
    """All files of a generated folder but its manifest."""
    parts = ("tokenizer", "machine")
    words = {field: getattr(context, field) for field in context.__dataclass_fields__ if field not in parts}
    p = context.p
    templates = {
        f"{p}.h": "model.h.j2",
        f"{p}.c": "model.c.j2",
        f"{p}_internal.h": "internal.h.j2",
        f"{p}_forward.c": "forward_block.c.j2" if context.blocks else "forward.c.j2",
        "main.c": "trace_main.c.j2" if context.trace else "main.c.j2",
        "Makefile": "Makefile.j2",
        "README.md": "README.md.j2",
        **program_templates(target),
    }
    if context.threads:
        templates |= {f"{p}_threads.h": "threads.h.j2", f"{p}_threads.c": "threads.c.j2"}
    if context.machine is not None:
        words |= asdict(context.machine)
    if context.tokenizer is not None:
        templates[f"{p}_tokenizer.c"] = "tokenizer.c.j2"
        words |= asdict(context.tokenizer)
    rendered = {path: environment().get_template(name).render(words) for path, name in templates.items()}
    simd = files("llgen.templates") / "simd"
    rendered[f"{p}_simd.h"] = (simd / f"{kernels.isa}.h").read_text(encoding="utf-8")
    if context.integer:
        rendered[f"{p}_simd_int.h"] = (simd / f"{kernels.int_isa}_int.h").read_text(encoding="utf-8")
    result = {path: text.encode("utf-8") for path, text in rendered.items()}
    return {**result, **_weights_files(words, p, tensors)}


def weights_paths(prefix: str, tensors: Sequence[PackedTensor]) -> list[str]:
    """The files that hold the tensors, without rendering them."""
    groups = list(_groups(tensors))
    if len(groups) == 1:
        return [f"{prefix}_weights.c"]
    return [f"{prefix}_weights_{index}.c" for index in range(1, len(groups) + 1)]


def _groups(tensors: Sequence[PackedTensor]) -> Iterator[list[PackedTensor]]:
    group: list[PackedTensor] = []
    for tensor in tensors:
        if group and sum(len(t.data) for t in group) + len(tensor.data) > _WEIGHTS_FILE_BYTES:
            yield group
            group = []
        group.append(tensor)
    yield group


def _weights_files(words: Mapping[str, object], prefix: str, tensors: Sequence[PackedTensor]) -> dict[str, bytes]:
    template = environment().get_template("weights.c.j2")
    result = {}
    for path, group in zip(weights_paths(prefix, tensors), _groups(tensors), strict=True):
        title = f"the weights {', '.join(tensor.name for tensor in group)}"
        parts = [template.render(words, weights_title=title).encode("ascii")]
        for tensor in group:
            # Outside of Jinja, for these are megabytes.
            parts.append(
                f"/* {tensor.shape} */\n"
                f"_Alignas(64) const union {prefix}_{tensor.name} {prefix}_{tensor.name} = {{\n".encode("ascii")
            )
            parts.append(literals.string_lines(tensor.data, row=256))
            parts.append(b"};\n\n")
        parts[-1] = b"};\n"
        result[path] = b"".join(parts)
    return result
