"""Running a compiled program on this machine, directly or in its target's emulator."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from llgen.errors import LlgenError
from llgen.shown import shown

from ..compile.toolchain import Artifact
from ..reference.forward import Trace
from .death import death
from .emulator import missing_emulator

BENCH_OPTIONS = {"decode": "--bench", "prefill": "--prefill"}
"""Options with which a program only evaluates a number of positions, and reports the time by its own clock."""

_SIGPIPE = 13  # not in the signal module of every platform


@dataclass(frozen=True)
class Story:
    """The text that a program wrote, and its report."""

    text: str
    """Empty when the text was streamed to standard output."""
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    seconds: float
    drafted: int
    """Tokens that were evaluated ahead."""
    accepted: int
    """Drafted tokens that were right."""

    @property
    def tokens_per_second(self) -> float:
        return len(self.tokens) / self.seconds if self.seconds > 0 else 0.0


def run_selftest(artifact: Artifact, positions: int, drafts: int = 0) -> Trace:
    """Run a program's greedy self-test and return its tokens and digest. It drafts up to `drafts` tokens ahead."""
    words = ["--selftest", str(positions), *(["--speculate", str(drafts)] if drafts else [])]
    output = run_program(artifact, words).decode("ascii", errors="replace")
    tokens = re.search(r"^tokens((?: \d+)+)\s*$", output, re.MULTILINE)
    digest = re.search(r"^digest ([0-9a-f]{8})\s*$", output, re.MULTILINE)
    if not tokens or not digest:
        raise LlgenError(f"'{artifact.path.name}' printed no digest but: {output[:200]!r}")
    return Trace(tuple(int(token) for token in tokens[1].split()), int(digest[1], 16))


def run_program(artifact: Artifact, arguments: Sequence[str]) -> bytes:
    """Run a program to its end; returns its standard output. Raises LlgenError with its message when it fails."""
    return _run(artifact, arguments).stdout


def _run(artifact: Artifact, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(command(artifact, arguments), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise _failure(artifact, done.returncode, done.stderr)
    return done


def run_story(artifact: Artifact, arguments: Sequence[str], prompt: bytes | None, *, stream: bool) -> Story:
    """Let a program write a text: to standard output at once when `stream`, else into the result.

    `prompt` is passed through standard input, so that it may hold any bytes. Raises LlgenError when the program fails.
    """
    words = [*arguments, "--verbose", *(["-"] if prompt is not None else [])]
    if sys.stdout is not None:  # closed by the caller: the program will say that its output takes no more
        sys.stdout.flush()
    with subprocess.Popen(
        command(artifact, words),
        stdin=subprocess.PIPE if prompt is not None else subprocess.DEVNULL,
        stdout=None if stream else subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        output, said = process.communicate(prompt)
    if process.returncode == -_SIGPIPE:  # who read the text has had enough
        raise BrokenPipeError
    if process.returncode != 0:
        raise _failure(artifact, process.returncode, said)
    facts = dict(line.split(" ", 1) for line in said.decode("utf-8", errors="replace").splitlines() if " " in line)
    return Story(
        text=(output or b"").decode("utf-8", errors="replace").removesuffix("\n"),
        prompt_tokens=_ids(facts.get("prompt_tokens", "")),
        tokens=_ids(facts.get("tokens", "")),
        seconds=float(facts.get("seconds", "0")),
        drafted=int(facts.get("drafted", "0")),
        accepted=int(facts.get("accepted", "0")),
    )


def _ids(text: str) -> tuple[int, ...]:
    return tuple(int(token) for token in text.split())


def command(artifact: Artifact, arguments: Sequence[str], emulator_options: Sequence[str] = ()) -> list[str]:
    """The command that starts a program with its arguments; `emulator_options` follow the emulator's name.

    Raises LlgenError when its emulator is not installed.
    """
    target = artifact.target
    problem = missing_emulator(target)
    if problem is not None or target.runner is None:
        raise LlgenError(f"cannot run '{artifact.path.name}': {problem}", "`llgen doctor` lists what is there")
    path = artifact.path.resolve()
    places = {"{artifact}": str(path), "{directory}": str(path.parent), "{python}": sys.executable}
    words = []
    for word in target.runner.argv:
        for place, value in places.items():
            word = word.replace(place, value)
        words.append(word)
    words[1:1] = emulator_options
    if target.stdio == "semihosting":
        return [*words, *_CONSOLE, _semihosting([path.name, *arguments])]
    return [*words, *arguments]


# Nothing but semihosting may use the terminal.
_CONSOLE = ("-display", "none", "-serial", "none", "-monitor", "none", "-semihosting-config")


def _semihosting(words: Sequence[str]) -> str:
    """QEMU's option for a command line; a comma in a word is doubled."""
    return ",".join(["enable=on", "target=native", *("arg=" + word.replace(",", ",,") for word in words)])


def _failure(artifact: Artifact, code: int, words: bytes) -> LlgenError:
    text = words.decode("utf-8", errors="replace").strip()
    prefix = f"{artifact.path.name.removesuffix(artifact.target.suffix)}: "
    if code == 1 and text.startswith(prefix):  # the program's own message, which is for people already
        return LlgenError(text.splitlines()[-1].removeprefix(prefix))
    if (ended := death(code, artifact.target)) is not None:
        said = f"; it said: {shown(text[-200:])}" if text else ""
        return LlgenError(f"'{artifact.path.name}' {ended[0]}{said}", ended[1])
    return LlgenError(f"'{artifact.path.name}' ended with {code}: {text[-500:] or 'it said nothing'}")
