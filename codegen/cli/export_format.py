"""Which format `llgen export` writes: the option --format decides, or else the name of the output."""

from __future__ import annotations

from pathlib import Path

from llgen.errors import UsageError

FORMATS = ("huggingface", "gguf", "llama2c", "pt")
ALIASES = {"hf": "huggingface"}
_SUFFIXES = {".gguf": "gguf", ".bin": "llama2c", ".pt": "pt"}
_CHOICES = "--format huggingface (hf), gguf, llama2c or pt; or a name that ends in .gguf, .bin or .pt"


def chosen_format(asked: str | None, output: Path) -> str:
    """One of FORMATS. A name without a suffix and an existing folder mean a Hugging Face directory.

    Raises UsageError when neither the option nor the name says the format, or when they contradict each other.
    """
    named = _named(output)
    wanted = ALIASES.get(asked or "", asked)
    if wanted is None:
        if named is None:
            raise UsageError(f"the name '{output}' does not say what to write", _CHOICES)
        return named
    if output.suffix.lower() in _SUFFIXES and named not in (wanted, "huggingface"):
        raise UsageError(f"--format {asked} contradicts the name '{output}', which means {named}", _CHOICES)
    return wanted


def _named(output: Path) -> str | None:
    suffix = output.suffix.lower()
    is_version = suffix[1:].isdigit()  # as in model-v1.5
    if output.is_dir() or ((not suffix or is_version) and not output.exists()):
        return "huggingface"
    return _SUFFIXES.get(suffix)
