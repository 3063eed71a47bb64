"""`llgen build`: make a folder of C and a program from a model directory."""

from __future__ import annotations

from pathlib import Path

import click

from llgen.targets.schema import load_target

from ..build.folder import Build, build
from ..model.prefix import objection, plain_prefix, required_prefix, safe_prefix
from ..plan.blocking import MOST_POSITIONS
from ..plan.tuning import read_values
from ..quantise.quantized import read_model
from .options import (
    FilePath,
    bake_prompt_option,
    chosen_extras,
    context_option,
    kv_option,
    model_argument,
    scheme_option,
    speculate_option,
    target_option,
    tuning_option,
)
from .output import answer, json_option, kib, say, spinner


@click.command(name="build")
@model_argument
@click.option("-o", "--output", type=FilePath(), help="Folder to write.  [default: MODEL-TARGET]")
@click.option("--name", "prefix", help="Prefix of the generated C.  [default: the model's name]")
@target_option
@scheme_option
@kv_option
@context_option
@click.option(
    "--prefill",
    type=click.IntRange(1, MOST_POSITIONS),
    help="Positions of a prompt to evaluate together: faster, for more RAM.  [default: 1 on microcontrollers]",
)
@bake_prompt_option
@speculate_option
@tuning_option
@json_option
def command(
    model: Path,
    output: Path | None,
    prefix: str | None,
    target: str,
    scheme: str | None,
    kv: str | None,
    context: int | None,
    prefill: int | None,
    bake_prompt: Path | None,
    drafts: int,
    tuning: Path | None,
    as_json: bool,
) -> None:
    """Generate C for MODEL, a model directory, and compile it with zig.

    The folder builds without llgen, too: `make`, `make CC=gcc`.
    """
    facts = load_target(target)
    if prefix is not None:
        required_prefix(prefix)
    with spinner("loading") as progress:
        source = read_model(model, scheme, kv, context)
        sizes = None if tuning is None else read_values(tuning, source, facts)
        directory = output or Path(f"{source.name}-{facts.name}")
        extras = chosen_extras(source, bake_prompt, drafts)
        result = build(
            source,
            facts,
            directory,
            prefix=prefix,
            prefill=prefill,
            extras=extras,
            tuning=sizes,
            progress=progress,
        )
    owned = objection(plain_prefix(source.name)) if prefix is None else None
    if owned is not None:
        say(f"the prefix of the C is '{safe_prefix(source.name)}', because {owned}; --name chooses another")
    if as_json:
        answer(_as_json(result))
    else:
        _tell(result)


def _as_json(result: Build) -> dict[str, object]:
    keys = ("model", "target", "scheme", "kv", "digest", "flash_bytes", "ram_bytes", "state_bytes", "stack_bytes")
    return {key: result.facts[key] for key in keys} | {
        "context": result.facts["context"],
        "prefill": result.facts["prefill"],
        "speculate": result.facts["speculate"],
        "prompt_tokens": result.facts["prompt_tokens"],
        "tuning": result.facts["tuning"],
        "code_bytes": result.facts["code_bytes"],
        "rodata_bytes": result.facts["rodata_bytes"],
        "digest_positions": result.facts["digest_positions"],
        "proved_positions": result.facts["proved_positions"],
        "not_proved": result.not_proved,
        "directory": str(result.directory),
        "files": list(result.files),
        "written": list(result.written),
        "artifact": str(result.artifact.path),
    }


def _tell(result: Build) -> None:
    facts = result.facts
    for name in result.written:
        say(f"wrote {result.directory / name}")
    if not result.written:
        say(f"{result.directory} is up to date")
    say(f"built {result.artifact.path} for {facts['target']}, scheme {facts['scheme']}")
    if facts["tuning"] is not None:
        say(f"tuned  {', '.join(facts['tuning']) or 'nothing'}")
    code = f", {facts['code_bytes']:,} of them code" if facts["code_bytes"] else ", without code"
    prompt = facts["rodata_bytes"].get("prompt")
    baked = f", {prompt:,} the baked prompt of {facts['prompt_tokens']} tokens" if prompt else ""
    say(f"flash  {kib(facts['flash_bytes'])}{code}{baked}")
    together = f", {facts['prefill']} positions of a prompt at a time" if facts["prefill"] > 1 else ""
    whole = result.artifact.target.is_module
    state = f", all that the module asks for; {facts['state_bytes']:,} of them the model's state" if whole else ""
    say(f"RAM    {kib(facts['ram_bytes'])}{state}{together}")
    if facts["stack_bytes"] is not None:
        say(f"stack  {facts['stack_bytes']:,} bytes at most")
    target = result.artifact.target
    if target.firmware is not None and target.source is None:
        places = ", ".join(f"{region.name} {kib(region.length)}" for region in target.firmware.memory)
        say(f"memory of the emulated machine: {places}; for a board, state its memory in a file: --target BOARD.toml")
    say(f"digest {facts['digest']} over {facts['digest_positions']} positions")
    if result.not_proved is None:
        say(f"proved over {facts['proved_positions']} of them: the program's bits are the reference's")
    else:
        say(f"not proved, because the program did not run here: {result.not_proved}")
