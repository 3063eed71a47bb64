"""Rendering: boxes of words become the text of every generated file. Nothing here writes to the disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import cast

import jinja2
from jinja2 import meta
from jinja2.ext import Extension

from llgen.targets.instruction_sets import InstructionSet
from llgen.targets.schema import Target

from ..contract import literals
from ..pack.weights import PackedTensor
from ..words.boxes import Words
from ..words.machine import program_templates
from .short_names import INTERNAL, short_names
from .unread import without_unread

FileSet = Mapping[str, bytes]
"""Path, relative to the output directory, -> content."""

_WEIGHTS_FILE_BYTES = 8 << 20
"""Approximate size of one weights file, which limits the compiler's memory; an array is never divided."""


class _ControlLines(Extension):
    """Reads a line `//% …` as the block tag `{% … %}`.

    Jinja's own line statements remove the blank lines after them; a block tag removes only its own line.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"^[ ]*//%(.*)$", r"{%\1 %}", source, flags=re.MULTILINE)


@cache
def environment(line: tuple[str, ...] = ()) -> jinja2.Environment:
    """The Jinja environment of an instruction set: templates are C with `//%` control lines.

    `line` names the folders under targets/isa/ whose templates take the place of those of templates/kernels/. An
    undefined name in a template is an error.
    """
    own = [jinja2.PrefixLoader({"kernels": jinja2.PackageLoader("llgen.targets", f"isa/{name}")}) for name in line]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([*own, jinja2.PackageLoader("llgen.templates", "")]),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=[_ControlLines],
    )


_SEES = re.compile(r"\A\{# Sees ([\w, ]+)\. #\}")
"""A template's first line, which names the boxes whose fields it may print, or says "nothing"."""


@cache
def boxes_of(template: str, line: tuple[str, ...] = ()) -> frozenset[str]:
    """The boxes that a template names at its top, and those of the templates that it includes."""
    jinja = environment(line)
    source, _, _ = cast(jinja2.BaseLoader, jinja.loader).get_source(jinja, template)
    own = _SEES.match(source)
    if own is None:
        raise ValueError(f"the template '{template}' does not begin with the boxes that it sees")
    included = [name for name in meta.find_referenced_templates(jinja.parse(source)) if name is not None]
    boxes = frozenset(own[1].split(", ")) - {"nothing"}
    return boxes.union(*(boxes_of(name, line) for name in included))


def render(words: Words, kernels: InstructionSet, tensors: Sequence[PackedTensor], target: Target) -> FileSet:
    """All files of a generated folder except its manifest."""
    p = words.names.p
    templates = {
        f"{p}.h": "model.h.j2",
        f"{p}.c": "model.c.j2",
        f"{p}_internal.h": "internal.h.j2",
        f"{p}_forward.c": "forward_block.c.j2" if words.features.blocks else "forward.c.j2",
        f"{p}_kernels.h": "kernels_block.h.j2" if words.features.blocks else "kernels.h.j2",
        "main.c": "trace_main.c.j2" if words.features.trace else "main.c.j2",
        "Makefile": "Makefile.j2",
        "README.md": "README.md.j2",
        **program_templates(target),
    }
    if words.features.threads:
        templates |= {f"{p}_threads.h": "threads.h.j2", f"{p}_threads.c": "threads.c.j2"}
    if words.tokenizer is not None:
        templates[f"{p}_tokenizer.c"] = "byte_level.c.j2" if words.tokenizer.byte_level else "sentence_piece.c.j2"
    vectors = {f"{p}_simd.h": kernels.text_of("float.h")}
    if words.features.integer:
        vectors[f"{p}_simd_int.h"] = kernels.text_of("int.h")
    headers = {"vector_headers": _vector_headers(vectors.values())}
    rendered = {path: _rendered(name, words, headers, kernels.line) for path, name in templates.items()} | vectors
    private = {path: rendered.pop(path) for path in (f"{p}_internal.h", f"{p}_kernels.h", *vectors)}
    rendered |= without_unread(private, rendered.values())
    own = short_names((text for path, text in rendered.items() if _declares_for_itself(path, p)), p)
    short = {"short_names": own.declared, "short_macros": own.macros, "internal": p + INTERNAL}
    rendered[f"{p}_names.h"] = _rendered("names.h.j2", words, short)
    result = {path: text.encode("utf-8") for path, text in rendered.items()}
    return {**result, **_weights_files(words, tensors)}


def _rendered(template: str, words: Words, of_files: Mapping[str, object], line: tuple[str, ...] = ()) -> str:
    """The text of a template, which sees its boxes, and what only rendering knows `of_files`."""
    return environment(line).get_template(template).render(words.seen(boxes_of(template, line)), **of_files)


def _declares_for_itself(path: str, prefix: str) -> bool:
    """Whether a file is one of the model's own, and no header that others include."""
    return path == f"{prefix}.c" or (path.startswith(f"{prefix}_") and path != f"{prefix}_threads.h")


def _vector_headers(texts: Iterable[str]) -> list[str]:
    """The headers that the vocabularies of vectors include, but for those that the model's own header brings."""
    found = {header for text in texts for header in re.findall(r"^#include <(.*)>$", text, re.MULTILINE)}
    return sorted(found - {"stddef.h", "stdint.h"})


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


def _weights_files(words: Words, tensors: Sequence[PackedTensor]) -> dict[str, bytes]:
    prefix = words.names.p
    result = {}
    for path, group in zip(weights_paths(prefix, tensors), _groups(tensors), strict=True):
        title = f"the weights {', '.join(tensor.name for tensor in group)}"
        parts = [_rendered("weights.c.j2", words, {"weights_title": title}).encode("ascii")]
        for tensor in group:
            # Outside of Jinja, for these are megabytes.
            parts.append(
                f"/* {tensor.shape} */\n"
                f"_Alignas(64) const union {prefix}_{tensor.name} {prefix}_{tensor.name} = {{\n".encode("ascii")
            )
            parts.append(literals.string_lines(tensor.data, row=256))
            parts.append(b"};\n\n")
        parts[-1] = f'}};\n\n#include "{prefix}_names.h"\n'.encode("ascii")
        result[path] = b"".join(parts)
    return result
