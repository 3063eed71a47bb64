"""Running a compiled program on the machine at hand, directly or under its target's emulator."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from llgen.targets.schema import Target, cpu_flags

from .errors import LlgenError
from .reference import Trace
from .toolchain import Artifact

BENCH_OPTIONS = {"decode": "--bench", "prefill": "--prefill"}
"""What a program takes to do so many positions and nothing else, and to report its time, by its own clock."""

_SIGPIPE = 13  # not in the signal module of every platform


@dataclass(frozen=True)
class Story:
    """What a program wrote, and what it said of it."""

    text: str
    """Empty when the text was streamed to standard output."""
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    seconds: float
    drafted: int
    """Tokens that were evaluated ahead."""
    accepted: int
    """Those of them that were right."""

    @property
    def tokens_per_second(self) -> float:
        return len(self.tokens) / self.seconds if self.seconds > 0 else 0.0


def missing_emulator(target: Target) -> str | None:
    """What keeps programs of this target from running here, with the line that mends it; None when nothing does."""
    runner = target.runner
    if runner is None:
        return f"programs for '{target.name}' can be built here, not run"
    word = runner.argv[0]
    if word not in ("{artifact}", "{python}") and not shutil.which(word):
        return f"'{word}' is not installed" + (f"; apt-get install {runner.package}" if runner.package else "")
    if runner.python_package and find_spec(runner.python_package) is None:
        return f"'{runner.python_package}' is not installed; pip install {runner.python_package}"
    lacking = sorted(set(runner.cpu_flags) - cpu_flags())
    return f"this processor has no {', '.join(lacking)}" if lacking else None


def run_selftest(artifact: Artifact, positions: int, drafts: int = 0) -> Trace:
    """Let a program decode greedily and take down its tokens and digest; `drafts` tokens ahead, if it has the room."""
    words = ["--selftest", str(positions), *(["--speculate", str(drafts)] if drafts else [])]
    output = run_program(artifact, words).decode("ascii", errors="replace")
    tokens = re.search(r"^tokens((?: \d+)+)\s*$", output, re.MULTILINE)
    digest = re.search(r"^digest ([0-9a-f]{8})\s*$", output, re.MULTILINE)
    if not tokens or not digest:
        raise LlgenError(f"'{artifact.path.name}' printed no digest but: {output[:200]!r}")
    return Trace(tuple(int(token) for token in tokens[1].split()), int(digest[1], 16))


def run_program(artifact: Artifact, arguments: Sequence[str]) -> bytes:
    """Run to the end; returns its standard output. Raises LlgenError with its words when it fails."""
    return _run(artifact, arguments).stdout


def _run(artifact: Artifact, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(command(artifact, arguments), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise _failure(artifact, done.returncode, done.stderr)
    return done


def run_story(artifact: Artifact, arguments: Sequence[str], prompt: bytes | None, *, stream: bool) -> Story:
    """Let a program write: to standard output as it comes when `stream`, else into the result.

    `prompt` goes through standard input, so that it may hold anything. Raises LlgenError when the program fails.
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
    """The words that start a program with its arguments; `emulator_options` stand behind the emulator's name.

    Raises LlgenError when what runs it is not installed.
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
    """QEMU's option for a command line; a comma within a word is written twice."""
    return ",".join(["enable=on", "target=native", *("arg=" + word.replace(",", ",,") for word in words)])


def _failure(artifact: Artifact, code: int, words: bytes) -> LlgenError:
    text = words.decode("utf-8", errors="replace").strip()
    prefix = f"{artifact.path.name.removesuffix(artifact.target.suffix)}: "
    if code == 1 and text.startswith(prefix):  # the program's own message, which is for people already
        return LlgenError(text.splitlines()[-1].removeprefix(prefix))
    return LlgenError(f"'{artifact.path.name}' ended with {code}: {text[-500:] or 'it said nothing'}")
