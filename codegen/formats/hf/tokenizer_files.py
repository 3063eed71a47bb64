"""Reads the files of a model directory that describe its tokens; companions.py writes them.

`tokenizer.model` holds the pieces. `tokenizer_config.json` names the tokens that begin and end a text, and says whether
the first one is put in front. Tokens that were added to the pieces later are in `added_tokens.json` and under
`added_tokens_decoder`. `config.json` and `generation_config.json` list ids. text_tokens.py says which file has
precedence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...model.config import ModelConfig
from ...model.sentence_piece import SentencePiece
from ...model.text_tokens import BOS, EOS, Claim
from ...model.vocabulary import Vocabulary
from ..adopt import adopt, claim_of
from .added_tokens import FAST, read_added, with_added
from .config import token_ids
from .tokenizer_json_read import claim_of_json, read_tokenizer_json
from .weights import read_json

TOKENIZER, TOKENIZER_CONFIG, GENERATION_CONFIG = "tokenizer.model", "tokenizer_config.json", "generation_config.json"


def read_tokens(
    directory: Path,
    raw: Mapping[str, Any],
    config: ModelConfig,
    given: Vocabulary | None = None,
    said: Sequence[Claim] = (),
    *,
    without_tokenizer: bool = False,
) -> tuple[ModelConfig, Vocabulary | None]:
    """Return the model's dimensions with its special tokens, and its tokenizer with a piece for each embedding row.

    `raw` is the content of `config.json`. The tokenizer `given`, or no tokenizer at all, replaces the directory's;
    `said` holds the claims of the file that `given` came from, besides its pieces.
    Raises LlgenError when a file is malformed, or the tokenizer belongs to another model.
    """
    if given is not None:
        vocabulary: Vocabulary | None = given
        tokenizer = [*said, claim_of(given, "the tokenizer")]
    elif without_tokenizer:
        vocabulary, tokenizer = None, []
    else:
        vocabulary, tokenizer = _own_tokenizer(directory, config.vocab_size)
    model = [*_generation(directory), _config_claim(raw, directory / "config.json", usual=vocabulary is None)]
    return adopt(config, vocabulary, tokenizer, model)


def _own_tokenizer(directory: Path, rows: int) -> tuple[Vocabulary | None, list[Claim]]:
    """The tokenizer.model of a directory, or else its tokenizer.json; and the claims of the files beside it."""
    path, fast = directory / TOKENIZER, directory / FAST
    vocabulary: Vocabulary
    if path.exists():
        vocabulary = SentencePiece.from_file(path)
    elif fast.exists():
        vocabulary = read_tokenizer_json(fast)
    else:
        return None, []
    settings = _read_object(directory / TOKENIZER_CONFIG)
    vocabulary = with_added(vocabulary, read_added(directory, settings), rows)
    claims = [_settings_claim(settings, vocabulary)]
    if fast.exists():
        claims.append(claim_of_json(fast))
    return vocabulary, [*claims, claim_of(vocabulary, TOKENIZER if path.exists() else FAST)]


def _settings_claim(settings: Mapping[str, Any], vocabulary: Vocabulary) -> Claim:
    ids = {piece.text: index for index, piece in reversed(list(enumerate(vocabulary.pieces)))}

    def named(key: str) -> int | None:
        value = settings.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        return ids.get(text) if isinstance(text, str) else None

    adds, eos = settings.get("add_bos_token"), named("eos_token")
    if not isinstance(adds, bool):
        adds = False if settings.get("bos_token", "") is None else None
    return Claim(TOKENIZER_CONFIG, bos=named("bos_token"), adds_bos=adds, ends=None if eos is None else (eos,))


def _generation(directory: Path) -> list[Claim]:
    path = directory / GENERATION_CONFIG
    raw = _read_object(path)
    bos, ends = token_ids(raw, "bos_token_id", path), token_ids(raw, "eos_token_id", path)
    return [Claim(GENERATION_CONFIG, bos=bos[0] if bos else None, ends=ends)] if raw else []


def _config_claim(raw: Mapping[str, Any], path: Path, *, usual: bool) -> Claim:
    """The claims of config.json; for a model without a tokenizer, missing keys have transformers' defaults."""
    bos, ends = token_ids(raw, "bos_token_id", path), token_ids(raw, "eos_token_id", path)
    if usual and "bos_token_id" not in raw:
        bos = (BOS,)
    if usual and "eos_token_id" not in raw:
        ends = (EOS,)
    return Claim("config.json", bos=bos[0] if bos else None, ends=ends)


def _read_object(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
