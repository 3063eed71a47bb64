"""Compares llgen's reading of a model with other programs: logits and ids from readers that share no code with llgen.

`llgen check` proves that generated C computes what Python computes. Both, and llgen's PyTorch model, use the same
loader, so they cannot reveal an error of the loader. transformers, and llama.cpp for GGUF files, have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from llgen.errors import ExitCode, LlgenError
from llgen.shown import shown

from ..contract.numerics import Array
from ..model.checkpoint import Checkpoint
from ..model.sentence_piece import SPACE
from ..model.spec import lower
from ..quantise.quantize import quantize
from ..reference.forward import Reference
from .parity import Closeness, closeness

LIMIT = 1e-4
"""Limit of a logit difference, relative to the range of a row's logits. Adding float32 in another order differs by a
hundredth of the limit, misread weights by much more than the limit."""

TEXTS = (
    "Once upon a time",
    "a",
    "The cat's hat wasn't on the mat; was it?",
    "1234567890 3.14159 1,000,000 -7 +8 50%",
    "UPPER lower MiXeD camelCase snake_case kebab-case",
    "Käse, straße, naïve café, El Niño",
    "中文 テスト 한국어",
    "Привет, мир! שלום مرحبا",
    "🙂🙃 👩‍👩‍👧 🇩🇪",
    "e\u0301 \u00e9 \ufb01 \u00bd \u2163",
    "“quoted” ‘single’ — dash – minus − ellipsis…",
    "tab\there",
    "line one\nline two\n\nline four",
    "\r\n7",
    "https://example.org/a?b=c&d=e#f",
    "if (x[i] != 0) { return *p++ >> 2; } // C",
    '{"key": ["value", null, true]}',
    "<b>bold</b> & [link](target) `code` **strong**",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "zxqj vkwp bdfg",
    "a\u00a0b\u2003c\u200bd",
    "▁ is U+2581",
    "  two in front",
    "two  within",
    "one behind ",
    " ",
    "",
)
"""Texts of all kinds. None holds the name of a special token, which other programs would read as the token."""


@dataclass(frozen=True)
class Other:
    """A model as read by another program."""

    name: str
    """Name of the program, with its version."""
    logits: Callable[[Sequence[int]], Array]
    """Logits of every position of one sequence, [len(tokens), vocab_size], float32."""
    ids: Callable[[str], list[int]] | None
    """Ids of a text, without special tokens; None: the files hold no tokenizer."""
    remark: str = ""
    """A remark for the user on how the program read the files."""
    lead: tuple[int, ...] | None = None
    """The tokens that it puts in front of a text; None when that is not known."""
    lead_counts: bool = False
    """Whether the files determine these tokens, in a `tokenizer.json`."""
    ends: tuple[int, ...] | None = None
    """The tokens at which it stops; None: the files name none."""


@dataclass(frozen=True)
class DifferentIds:
    text: str
    ours: list[int]
    theirs: list[int]
    spaces: bool
    """Whether the text has spaces at an end, or repeated spaces: readers are known to differ there."""


@dataclass(frozen=True)
class DifferentTokens:
    """Tokens around a text that another program treats differently."""

    what: str
    """For messages: a text "begins with" or "ends at" the tokens."""
    ours: list[int]
    theirs: list[int]
    counts: bool
    """Whether the difference is an error of one reader. False: a rule of llgen that is known to differ."""


@dataclass(frozen=True)
class Agreement:
    """The differences between llgen's reading of a model and another program's."""

    by: str
    logits: Closeness
    remark: str
    """As in Other."""
    texts: int
    """Number of texts whose ids were compared; 0 when one side has no tokenizer."""
    different: tuple[DifferentIds, ...]
    around: tuple[DifferentTokens, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all are equal that must be: logits except for rounding, ids of texts without unusual spaces, and the
        tokens in front."""
        if self.logits.max_difference > LIMIT or any(tokens.counts for tokens in self.around):
            return False
        return all(text.spaces for text in self.different)


def compare(checkpoint: Checkpoint, other: Other, tokens: Sequence[int]) -> Agreement:
    """Compare the float32 reference of a checkpoint with another program: logits of `tokens`, ids of TEXTS, and the
    tokens that begin and end a text.

    Raises LlgenError when the numbers of logits differ.
    """
    theirs = other.logits(tokens)
    ours = Reference(quantize(lower(checkpoint), "f32")).feed(tokens)
    if theirs.shape != ours.shape:
        raise LlgenError(
            f"{other.name} computes {theirs.shape[1]} logits a token; the model has {ours.shape[1]}",
            exit_code=ExitCode.PARITY_FAILED,
        )
    ids, vocabulary = other.ids, checkpoint.vocabulary
    compared = () if ids is None or vocabulary is None else TEXTS
    different = []
    for text in compared:
        assert ids is not None and vocabulary is not None
        here, there = vocabulary.encode(text), ids(text)
        if here != there:
            different.append(DifferentIds(text, here, there, _has_unusual_spaces(text)))
    around = tuple(_around(checkpoint, other))
    return Agreement(other.name, closeness(ours, theirs), other.remark, len(compared), tuple(different), around)


def _around(checkpoint: Checkpoint, other: Other) -> Iterator[DifferentTokens]:
    config, vocabulary = checkpoint.config, checkpoint.vocabulary
    if other.lead is not None and other.lead != config.lead:
        yield DifferentTokens("begins with", list(config.lead), list(other.lead), other.lead_counts)
    # That what begins a text ends the one before it is our rule (text_tokens.py).
    begins = {config.bos_id, None if vocabulary is None else vocabulary.bos_id}
    if other.ends is not None and {*other.ends} - begins != {*config.end_ids} - begins:
        yield DifferentTokens("ends at", list(config.end_ids), list(other.ends), counts=False)


def _has_unusual_spaces(text: str) -> bool:
    spaced = text.replace(SPACE, " ")  # which SentencePiece cannot tell from a space
    return spaced != spaced.strip(" ") or "  " in spaced


# --------------------------------------------------------------------------------------------------- other programs


def require_transformers() -> None:
    """Raise LlgenError when transformers or PyTorch is not installed."""
    missing = [name for name in ("transformers", "torch") if not find_spec(name)]
    if missing:
        raise LlgenError(
            f"--against transformers needs {' and '.join(missing)}, which is not installed",
            "pip install 'llgen[verify]'",
        )


@contextmanager
def blamed_on(name: str, path: Path) -> Iterator[None]:
    """Turn any exception of another program's reader into an LlgenError with the first line of its message."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LlgenError(f"{name} cannot read '{path}': {shown(lines[0], 200)}") from error


def open_with_llama_cpp(path: Path, positions: int) -> Other:
    """Open a GGUF file of F32 weights, with an F32 cache and one thread, for sequences of up to `positions` tokens."""
    import llama_cpp

    f32 = llama_cpp.GGML_TYPE_F32
    name = f"llama.cpp by llama-cpp-python {llama_cpp.__version__}"
    with blamed_on(name, path):
        model = llama_cpp.Llama(
            str(path), n_ctx=positions, n_threads=1, logits_all=True, type_k=f32, type_v=f32, verbose=False
        )

    def logits(tokens: Sequence[int]) -> Array:
        model.reset()
        model.eval(list(tokens))
        return np.array(model.scores[: len(tokens)], dtype=np.float32)

    # Without special tokens; llama.cpp puts a space in front by itself where the file asks for it.
    return Other(name, logits, lambda text: list(model.tokenize(text.encode(), add_bos=False, special=False)))
