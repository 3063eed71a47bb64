#!/usr/bin/env python3
"""Compare what this tree builds with what an earlier commit built, on many targets.

    python tests/compare_builds.py REV MODEL [--target all|a,b] [--scheme f32,q8,q4] [--context N] [--count]

Each tree runs its own commands in processes of its own. A table on standard output has a line for a target and a
scheme; progress goes to standard error. The exit code is 1 when a digest differs, when instructions a token rise by
more than 0.5 %, when flash, RAM or stack rise, or when only the earlier commit built.
`--count` runs `llgen check`, too, which counts instructions; programs for the PC at hand are counted, by valgrind, when
more than one target is named.
pytest does not run this script; `tests/test_compare_builds.py` tests its verdicts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
MOST_MORE_INSTRUCTIONS = 1.005
"""Instructions of this tree, as a multiple of the earlier ones, above which a comparison fails."""


@dataclass(frozen=True)
class Facts:
    """What one tree built for one target and scheme. None: not known, or not measured."""

    problem: str | None = None
    """Why there is no program."""
    digest: str | None = None
    instructions: float | None = None
    """A token's, the mean over the positions of the check."""
    flash: int | None = None
    ram: int | None = None
    stack: int | None = None


@dataclass(frozen=True)
class Row:
    """One target and scheme in both trees."""

    target: str
    scheme: str
    before: Facts
    after: Facts
    same: int = 0
    """Generated files that are equal, byte by byte."""
    changed: tuple[str, ...] = ()
    """Names of generated files that differ, or that one tree alone has."""


def complaints(row: Row) -> list[str]:
    """What is worse in this tree than before, in words; nothing when the comparison passes."""
    before, after = row.before, row.after
    if after.problem:
        return [] if before.problem else [f"no program: {after.problem}"]
    found = []
    if before.digest and before.digest != after.digest:
        found.append(f"digest {before.digest} became {after.digest}")
    if before.instructions and after.instructions is None:
        found.append("instructions are no longer counted")
    elif before.instructions and after.instructions / before.instructions > MOST_MORE_INSTRUCTIONS:
        found.append(f"instructions rose by {after.instructions / before.instructions - 1:.2%}")
    for name in ("flash", "ram", "stack"):
        old, new = getattr(before, name), getattr(after, name)
        if old is not None and new is None:
            found.append(f"{name} is no longer measured")
        elif old is not None and new > old:
            found.append(f"{name} rose by {new - old:,} bytes")
    return found


def table(rows: Sequence[Row]) -> list[str]:
    """Lines for a person: one for each target and scheme, and what a comparison complains about after it."""
    head = ("target", "scheme", "files", "digest", "instr./token", "ratio", "flash", "RAM", "stack")
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = []
    for line, row in zip(cells, (None, *rows), strict=True):
        words = "" if row is None else "; ".join(complaints(row))
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        lines += [f"    WORSE: {words}"] if words else []
    changed = Counter(name for row in rows for name in row.changed)
    lines += [f"changed in {count} of {len(rows)}: {name}" for name, count in sorted(changed.items())]
    bad = sum(bool(complaints(row)) for row in rows)
    return [*lines, f"{len(rows)} compared, {bad} worse"]


def _cells(row: Row) -> tuple[str, ...]:
    before, after = row.before, row.after
    if before.problem or after.problem:
        when = "" if before.problem and after.problem else " now" if after.problem else " before"
        return (row.target, row.scheme, f"no program{when}", *[""] * 6)
    ratio = "-"
    if before.instructions and after.instructions:
        ratio = f"{after.instructions / before.instructions:.4f}"
    return (
        row.target,
        row.scheme,
        f"{row.same} same, {len(row.changed)} changed",
        _pair(before.digest, after.digest),
        _pair(before.instructions, after.instructions),
        ratio,
        _pair(before.flash, after.flash),
        _pair(before.ram, after.ram),
        _pair(before.stack, after.stack),
    )


def _pair(before: Any, after: Any) -> str:
    """Both values, or one when they are equal."""
    one, two = (
        "-" if value is None else value if isinstance(value, str) else f"{value:,.0f}" for value in (before, after)
    )
    return one if one == two else f"{one} > {two}"


def link_package(tree: Path, site: Path) -> None:
    """Make `site` a folder from which Python imports the llgen of a tree, as its pyproject.toml lays it out."""
    settings = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    folders: dict[str, str] = settings["tool"]["setuptools"]["package-dir"]
    package = site / "llgen"
    package.mkdir(parents=True)
    for module in (tree / folders["llgen"]).glob("*.py"):
        (package / module.name).symlink_to(module)
    for name, folder in folders.items():
        if name != "llgen":
            (package / name.partition(".")[2]).symlink_to(tree / folder)


@dataclass(frozen=True)
class Tree:
    """A tree whose commands can be run."""

    name: str
    work: Path
    """A folder of its own, with the package in `site`, a cache, and what it builds."""

    def run(self, *words: str) -> tuple[dict[str, Any] | None, str]:
        """The answer of a command, None when it gave none, and what it said on standard error."""
        zig = os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(Path.home() / ".cache" / "llgen" / "zig")
        environment = {
            "ZIG_GLOBAL_CACHE_DIR": zig,
            "ZIG_LOCAL_CACHE_DIR": zig,
            **os.environ,
            "PYTHONPATH": str(self.work / "site"),
            "LLGEN_CACHE_DIR": str(self.work / "cache"),
        }
        command = [sys.executable, "-m", "llgen", *words, "--json"]
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, check=False)
        try:
            answer = json.loads(done.stdout)
        except json.JSONDecodeError:
            answer = None
        return (answer if isinstance(answer, dict) and "error" not in answer else None), done.stderr or done.stdout

    def targets(self) -> set[str]:
        """The names of all targets. Raises RuntimeError when the tree's commands do not work."""
        answer, said = self.run("targets")
        if answer is None:
            raise RuntimeError(f"{self.name}: `llgen targets` failed: {said}")
        return {target["name"] for target in answer["targets"]}

    def build(self, model: str, target: str, scheme: str, options: Sequence[str]) -> tuple[Facts, dict[str, bytes]]:
        """What was built, and the generated files."""
        say(f"{self.name}: building {target}, {scheme}")
        folder = f"{target}-{scheme}"
        answer, said = self.run("build", model, "--target", target, "--scheme", scheme, "-o", folder, *options)
        if answer is None:
            return Facts(problem=(said.strip().splitlines() or ["it said nothing"])[0]), {}
        facts = Facts(
            digest=answer["digest"],
            flash=answer["flash_bytes"],
            ram=answer["ram_bytes"],
            stack=answer["stack_bytes"],
        )
        return facts, {name: (self.work / folder / name).read_bytes() for name in answer["files"]}

    def count(self, model: str, targets: Sequence[str], scheme: str, options: Sequence[str]) -> dict[str, Any]:
        """Target -> what `llgen check` says of it."""
        say(f"{self.name}: checking and counting {scheme}")
        words = ("--target", ",".join(targets), "--scheme", scheme, "--no-torch", *options)
        answer, said = self.run("check", model, *words)
        if answer is None:
            say(f"{self.name}: check failed: {said.strip()}")
            return {}
        return {verdict["target"]: verdict for verdict in answer["targets"]}


def say(text: str) -> None:
    """A line of progress, whole even while both trees report."""
    sys.stderr.write(f"{text}\n")


def counted(facts: Facts, verdict: dict[str, Any] | None) -> Facts:
    """Facts with what a check found: its digest is the program's, where the program ran."""
    if verdict is None:
        return facts
    problem = facts.problem or verdict["error"]
    digest = verdict["digest"] or facts.digest
    return replace(facts, problem=problem, digest=digest, instructions=verdict["instructions_per_token"])


def compare(
    trees: tuple[Tree, Tree], model: str, targets: Sequence[str], schemes: Iterable[str], options: Sequence[str], *,
    counts: bool,
) -> Iterator[Row]:  # fmt: skip
    """Build everything with both trees, one process for each at a time."""
    with ThreadPoolExecutor(2) as pool:
        for scheme in schemes:
            verdicts: list[dict[str, Any]] = [{}, {}]
            if counts:
                verdicts = list(pool.map(lambda tree: tree.count(model, targets, scheme, options), trees))  # noqa: B023
            for target in targets:
                built = list(pool.map(lambda tree: tree.build(model, target, scheme, options), trees))  # noqa: B023
                (before, old), (after, new) = built
                same = [name for name in old if old[name] == new.get(name)]
                yield Row(
                    target,
                    scheme,
                    counted(before, verdicts[0].get(target)),
                    counted(after, verdicts[1].get(target)),
                    len(same),
                    tuple(sorted((old.keys() | new.keys()).difference(same))),
                )


@contextmanager
def worktree(revision: str, folder: Path) -> Iterator[Path]:
    """A checkout of a commit, removed at the end."""
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare this tree's builds with those of an earlier commit.")
    parser.add_argument("revision", metavar="REV", help="the earlier commit")
    parser.add_argument("model", metavar="MODEL", type=Path, help="a model directory")
    parser.add_argument("--target", default="all", help="names with commas between; all: those that both trees have")
    parser.add_argument("--scheme", default="f32,q8,q4", help="number formats with commas between")
    parser.add_argument("--context", help="positions to build for; the model's by default")
    parser.add_argument("--count", action="store_true", help="run the programs, and count instructions")
    arguments = parser.parse_args()
    options = ["--context", arguments.context] if arguments.context else []
    with tempfile.TemporaryDirectory(prefix="llgen-compare-") as name:
        temporary = Path(name)
        with worktree(arguments.revision, temporary / "tree") as earlier:
            trees = (Tree("before", temporary / "before"), Tree("after", temporary / "after"))
            for tree, place in zip(trees, (earlier, HERE), strict=True):
                link_package(place, tree.work / "site")
            known = trees[0].targets() & trees[1].targets()
            targets = sorted(known) if arguments.target == "all" else arguments.target.split(",")
            if unknown := set(targets) - known:
                parser.error(f"not both trees have the target {', '.join(sorted(unknown))}")
            schemes = arguments.scheme.split(",")
            model = str(arguments.model.resolve())
            rows = list(compare(trees, model, targets, schemes, options, counts=arguments.count))
    print("\n".join(table(rows)))
    return 1 if any(complaints(row) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
