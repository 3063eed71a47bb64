"""`llgen run`: let a model write, with its compiled C."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import BinaryIO

import click

from llgen.errors import LlgenError, UsageError
from llgen.targets.schema import load_target

from ..build.folder import build_cached
from ..plan.extras import Extras
from ..plan.tuning import read_values
from ..quantise.quantize import QuantModel
from ..quantise.quantized import read_model
from ..run.runner import run_story
from .options import (
    bake_prompt_option,
    chosen_extras,
    context_option,
    kv_option,
    model_argument,
    require_positions,
    scheme_option,
    speculate_option,
    target_option,
    tuning_option,
)
from .output import answer, json_option, say, spinner


@click.command(name="run")
@model_argument
@click.argument("prompt", required=False)
@click.option("-f", "--prompt-file", type=click.File("rb"), help="Read the prompt from a file.")
@click.option("--tokens", help="Token ids, comma-separated, in place of a prompt; no start token is added.")
@click.option("-t", "--temperature", type=float, default=0.8, show_default=True, help="0: always the likeliest token.")
@click.option(
    "-p", "--top-p", type=float, default=0.9, show_default=True, help="Keep the likeliest tokens up to this total."
)
@click.option(
    "-k",
    "--top-k",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Keep this number of likeliest tokens; 0: all.",
)
@click.option("-s", "--seed", type=click.IntRange(0, 2**64 - 1), help="The same seed gives the same text everywhere.")
@click.option("-n", "--positions", type=click.IntRange(min=1), help="Maximum tokens, including the prompt's.")
@click.option("--ignore-eos", is_flag=True, help="Continue after a start or end token.")
@click.option("-q", "--quiet", is_flag=True, help="Print only text, without speed and seed on standard error.")
@target_option
@scheme_option
@kv_option
@context_option
@bake_prompt_option
@speculate_option
@tuning_option
@json_option
def command(
    model: Path,
    prompt: str | None,
    prompt_file: BinaryIO | None,
    tokens: str | None,
    temperature: float,
    top_p: float,
    top_k: int,
    seed: int | None,
    positions: int | None,
    ignore_eos: bool,
    quiet: bool,
    target: str,
    scheme: str | None,
    kv: str | None,
    context: int | None,
    bake_prompt: Path | None,
    drafts: int,
    tuning: Path | None,
    as_json: bool,
) -> None:
    """Continue PROMPT (`-`: standard input) with MODEL, building it first when needed.

    Only text goes to standard output.
    """
    if sum(given is not None for given in (prompt, prompt_file, tokens)) > 1:
        raise UsageError("PROMPT, --prompt-file and --tokens exclude each other", "give one of them")
    if tokens is not None and not tokens.strip():
        raise UsageError("--tokens is empty", "give at least one id, as in --tokens 1,403")
    for name, value, limit in (("--temperature", temperature, float("inf")), ("--top-p", top_p, 1.0)):
        if not 0.0 <= value <= limit:
            raise UsageError(
                f"{name} is {value}; it must be at least 0" + (f" and at most {limit:g}" if limit == 1 else "")
            )
    text = _prompt(prompt, prompt_file)
    source = read_model(model, scheme, kv, context)
    facts = load_target(target)
    sizes = None if tuning is None else read_values(tuning, source, facts)
    room = source.context
    require_positions("-n", positions, room)
    extras = chosen_extras(source, bake_prompt, drafts)
    _check_prompt(source, extras, text)
    with spinner("building") as progress:
        built = build_cached(source, facts, progress, extras=extras, tuning=sizes)
    seed = secrets.randbelow(2**32) if seed is None else seed
    arguments = [
        "-t",
        _decimal(temperature),
        "-p",
        _decimal(top_p),
        "-k",
        str(top_k),
        "-s",
        str(seed),
        "-n",
        str(positions or room),
    ]
    arguments += ["--speculate", str(drafts)] if drafts else []
    arguments += ["--ignore-eos"] if ignore_eos else []
    arguments += ["--tokens", tokens] if tokens is not None else []
    story = run_story(built.artifact, arguments, text, stream=not as_json)
    # A program without an operating system reads its board's clock, which has another speed in an emulator.
    speed = None if facts.firmware else round(story.tokens_per_second, 1)
    if as_json:
        answer(
            {
                "prompt_tokens": story.prompt_tokens,
                "tokens": story.tokens,
                "text": story.text,
                "drafted": story.drafted,
                "accepted": story.accepted,
                "tokens_per_second": speed,
                "seed": seed,
                "target": facts.name,
                "scheme": source.scheme,
                "kv": source.kv,
            }
        )
    elif not quiet:
        count = len(story.tokens)
        ahead = f"; {story.accepted} of {story.drafted} tokens evaluated ahead were right" if drafts else ""
        say(f"{count} tokens, {'' if speed is None else f'{speed:,.0f} a second, '}seed {seed}{ahead}")


def _decimal(value: float) -> str:
    """A number as the program reads it: seven digits, at most ten digits after the point."""
    return f"{float(f'{min(value, 999999.0):.7g}'):.10f}".rstrip("0").rstrip(".")


def _prompt(prompt: str | None, prompt_file: BinaryIO | None) -> bytes | None:
    if prompt_file is not None:
        return prompt_file.read()
    if prompt == "-":
        return sys.stdin.buffer.read()
    # surrogateescape: bytes of the command line that are not UTF-8 reach the tokenizer unchanged
    return None if prompt is None else prompt.encode("utf-8", errors="surrogateescape")


def _check_prompt(model: QuantModel, extras: Extras, text: bytes | None) -> None:
    """Refuse a prompt that does not fit, before anything is built for it."""
    if text is None:
        return
    if b"\0" in text:
        raise LlgenError("the prompt holds a zero byte, which ends a text in C", "remove it")
    if model.vocabulary is None:
        raise UsageError(f"'{model.name}' has no tokenizer, so it takes no prompt", "give --tokens IDS")
    before = len(extras.tokens) or len(model.config.lead)
    count = before + len(model.vocabulary.encode(text))
    if count > model.context:
        baked = f", including {before} baked tokens" if extras.tokens else ", including the start token"
        raise LlgenError(
            f"the prompt has {count} tokens{baked if before else ''}; the context has {model.context} positions",
            "shorten it" + ("" if model.context == model.config.max_seq_len else ", or build for a longer --context"),
        )
