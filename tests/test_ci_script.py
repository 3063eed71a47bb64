"""`.ci/run` on machines of other kinds: no apt-get, no rights, other packages, a Python that is too old."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def machine(tmp_path):
    """Run the script in an empty project, with `make` that says with which Python it was called and nothing else but
    the commands that are given; returns the process."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "dirname", "env", "true"):
        (commands / name).symlink_to(str(shutil.which(name)))

    def run(**given: str) -> subprocess.CompletedProcess[str]:
        for name, script in {"make": 'echo "made with ${PYTHON:-python3}"', **given}.items():
            path = commands / name.replace("_", "-").replace("DOT", ".")
            path.write_text(f"#!{commands}/bash\n{script}\n")
            path.chmod(0o755)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHON"}
        return subprocess.run(
            [commands / "bash", tmp_path / ".ci" / "run"],
            env={**environment, "PATH": str(commands)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_without_apt_get_it_says_what_is_needed_and_goes_on(machine):
    done = machine(id="echo 0")
    assert done.returncode == 0
    assert "nothing is installed" in done.stderr
    assert "qemu-user" in done.stderr
    assert done.stdout == "made with python3\n"


def test_without_rights_it_goes_on(machine):
    done = machine(id="echo 1000", apt_get="echo touched >&2; exit 1", sudo="exit 1")
    assert done.returncode == 0
    assert "touched" not in done.stderr
    assert "nothing is installed" in done.stderr


def test_with_sudo_it_installs_what_the_release_knows(machine):
    done = machine(
        id="echo 1000",
        apt_get='echo "apt $*" >&2',
        apt_cache='[ "$2" = qemu-system-riscv ] || echo "Package: $2"',
        sudo='[ "$1" = -n ] && shift; exec "$@"',
    )
    assert done.returncode == 0
    assert "apt install -y -qq --no-install-recommends g++ gcc" in done.stderr
    assert "qemu-system-misc" in done.stderr
    assert "qemu-system-riscv" not in done.stderr


def test_an_archive_that_cannot_be_reached_does_not_end_it(machine):
    done = machine(id="echo 0", apt_get="exit 100", apt_cache="exit 100")
    assert done.returncode == 0
    assert "going on with what is installed" in done.stderr
    assert done.stdout == "made with python3\n"


def test_a_python_that_is_too_old_is_passed_over(machine):
    done = machine(id="echo 0", python3="exit 1", python3DOT12="exit 0")
    assert done.stdout == "made with python3.12\n"


def test_tests_that_fail_are_its_answer(machine):
    assert machine(id="echo 0", make="exit 2").returncode == 2


def test_the_packages_are_those_that_contributing_tells() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    listed = script.partition("packages=(")[2].partition(")")[0].split()
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = text.partition("apt-get install ")[2].partition("```")[0].replace("\\\n", " ").split()
    assert listed == told
