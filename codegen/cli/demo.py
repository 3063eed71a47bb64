"""`llgen demo`: every step once, from generated stories or a pretrained model to checked C."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

import click

from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import load_target

from ..build.folder import build, expected_trace
from ..formats.hf.directory import load_checkpoint, save_checkpoint
from ..model.spec import lower
from ..quantise.quantize import quantize
from ..run.runner import run_selftest, run_story
from .options import FilePath, take_folder
from .output import kib, say, spinner

_PROMPT = "Once upon a time"
_POSITIONS = 256


@click.command(name="demo")
@click.option("-o", "--output", type=FilePath(), default=Path("demo"), show_default=True, help="Folder.")
@click.option("--seconds", type=click.FloatRange(min=1), default=120, show_default=True, help="Time to train for.")
@click.option("--pretrained", is_flag=True, help="Take the model that comes with llgen; needs no PyTorch.")
@click.option(
    "-s", "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of corpus, training and story."
)
def command(output: Path, seconds: float, pretrained: bool, seed: int) -> int:
    """Train a small model on generated stories, build it, let it write, and prove the C equal to Python."""
    take_folder(output)
    if pretrained:
        say("1. Taking the story teller of 258 thousand parameters that comes with llgen")
        model = _unpack(output)
    else:
        say(f"1. Training a story teller of 143 thousand parameters from scratch, in about {seconds:.0f} seconds")
        model = _train(output, seconds, seed)
    checkpoint = load_checkpoint(model)
    target = load_target("host")

    say(f"\n2. Building it as C for this machine ({target.name})")
    with spinner("generating C") as progress:
        built = build(checkpoint, target, output / "c", progress=progress)
    say(f"   {output / 'c'}: flash {kib(built.facts['flash_bytes'])}, RAM {kib(built.facts['ram_bytes'])}")

    say("\n3. A story, written by that C")
    arguments = ["-t", "0.8", "-p", "0.9", "-s", str(seed), "-n", str(_POSITIONS)]
    story = run_story(built.artifact, arguments, _PROMPT.encode(), stream=True)
    say(f"   {len(story.tokens)} tokens, {story.tokens_per_second:,.0f} a second")

    say("\n4. Comparing the C with Python, bit for bit")
    with spinner("computing the reference"):
        expected = expected_trace(quantize(lower(checkpoint), "f32"), _POSITIONS)
    found = run_selftest(built.artifact, _POSITIONS)
    verdict = "equal" if found == expected else "DIFFERENT: `llgen check` says where"
    say(f"   {_POSITIONS} positions, digest {found.digest_hex} in C and {expected.digest_hex} in Python: {verdict}")

    again = "--pretrained" if pretrained else f"--seconds {seconds:.0f}"
    _tell_commands(model, output, again, seed)
    return ExitCode.DONE if found == expected else ExitCode.PARITY_FAILED


def _train(output: Path, seconds: float, seed: int) -> Path:
    if not find_spec("torch"):
        raise LlgenError("the demo trains a model, which needs PyTorch", "--pretrained, or pip install 'llgen[train]'")
    from llgen.trainer.demo import train_demo
    from llgen.trainer.progress import ConsoleReporter

    reporter = ConsoleReporter()
    try:
        return train_demo(output, seconds, reporter, seed)
    finally:
        reporter.close()


def _unpack(output: Path) -> Path:
    """Copy the model that comes with llgen into a folder of the user."""
    with as_file(files("llgen.codegen") / "pretrained") as folder:
        checkpoint = load_checkpoint(folder)
    model = output / "model"
    save_checkpoint(replace(checkpoint, name="model"), model)
    return model


def _tell_commands(model: Path, output: Path, again: str, seed: int) -> None:
    llgen = "llgen" if shutil.which("llgen") else sys.argv[0]
    say("\nEach step again:")
    for line in (
        f"{llgen} demo -o {output} {again} --seed {seed}",
        f"{llgen} build {model} -o {output / 'c'}",
        f'{llgen} run {model} "{_PROMPT}" -t 0.8 -p 0.9 -s {seed} -n {_POSITIONS}',
        f"{llgen} check {model} --positions {_POSITIONS}",
        f"{llgen} train --help",
    ):
        say(f"  {line}")
