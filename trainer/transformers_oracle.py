"""Opens a Hugging Face directory or a GGUF file with transformers; codegen/check/against.py compares llgen with it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.utils import logging

from llgen.codegen.check.against import Other, blamed_on
from llgen.codegen.contract.numerics import Array
from llgen.codegen.formats.hf.weights import read_json
from llgen.errors import LlgenError
from llgen.shown import shown_list


def open_with_transformers(path: Path, *, ids: bool = True) -> Other:
    """Open a Hugging Face directory or a GGUF file, in float32 on the CPU; without `ids`, its tokenizer is not read.

    Raises LlgenError when transformers cannot read it, and when a tensor is missing, which transformers would fill with
    random numbers.
    """
    file = path.name if path.is_file() else None
    where = {"pretrained_model_name_or_path": str(path.parent if file else path), "local_files_only": True}
    extra: dict[str, Any] = {}
    if file:
        if not find_spec("accelerate"):
            raise LlgenError("transformers needs accelerate to read a GGUF file", "pip install 'llgen[verify]'")
        where["gguf_file"] = file
        extra["quantization_config"] = transformers.GgufConfig(dequantize=True)
    name = f"transformers {transformers.__version__}"
    with _silence(), blamed_on(name, path):
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            **where, **extra, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    wrong = sorted({*found["missing_keys"], *map(str, found["mismatched_keys"])})
    if wrong:
        raise LlgenError(
            f"{name} finds no {shown_list(wrong)} in '{path}' and would fill it with random numbers",
            "the files are incomplete",
        )

    def logits(tokens: Sequence[int]) -> Array:
        with torch.no_grad(), _silence(), blamed_on(name, path):
            rows = model(torch.tensor([list(tokens)]), use_cache=False, return_dict=True).logits[0]
        return np.asarray(rows.float().numpy())

    ends = _ends(path, model)
    guesses = path.is_dir() and not (path / "tokenizer.json").exists() and not _names_its_class(path)
    if not ids or (guesses and not (path / "tokenizer.model").exists()):
        return Other(name, logits, None, ends=ends)
    reader = transformers.LlamaTokenizer if guesses else transformers.AutoTokenizer
    with _silence(), blamed_on(name, path):
        tokenizer = reader.from_pretrained(**where)
    return Other(
        name,
        logits,
        lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
        "ids are LlamaTokenizer's; AutoTokenizer guesses other ids when there is no tokenizer.json" if guesses else "",
        lead=_lead(tokenizer) if path.is_dir() else None,
        lead_counts=(path / "tokenizer.json").exists(),
        ends=ends,
    )


def _lead(tokenizer: Any) -> tuple[int, ...] | None:
    """The ids that a tokenizer adds before a text; None when the ids of the text do not occur after them."""
    text = tokenizer.encode("Once", add_special_tokens=False)
    whole = tokenizer.encode("Once")
    found = next((at for at in range(len(whole)) if whole[at : at + len(text)] == text), None)
    return None if found is None else tuple(whole[:found])


def _ends(path: Path, model: Any) -> tuple[int, ...] | None:
    """The ids at which generation ends; None when the directory does not tell."""
    files = [path / "generation_config.json", path / "config.json"]
    if not any("eos_token_id" in read_json(file) for file in files if file.exists()):
        return None
    ends = model.generation_config.eos_token_id
    return tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,)


def _names_its_class(directory: Path) -> bool:
    path = directory / "tokenizer_config.json"
    return path.exists() and bool(read_json(path).get("tokenizer_class"))


@contextmanager
def _silence() -> Iterator[None]:
    """Inside the block, transformers prints no messages and progress bars."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):  # some of its progress bars cannot be turned off
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
