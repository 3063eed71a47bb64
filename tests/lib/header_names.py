"""What the headers of C and POSIX declare under the compilers at hand: the check of codegen/reserved_names.toml."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llgen.codegen.compile.toolchain import host_cc, zig_environment

_C_HEADERS_TEXT = """
    stddef.h stdint.h limits.h float.h stdbool.h stdarg.h iso646.h stdalign.h stdnoreturn.h errno.h math.h
    complex.h string.h ctype.h wctype.h time.h stdio.h stdlib.h wchar.h uchar.h signal.h setjmp.h locale.h
    fenv.h inttypes.h tgmath.h assert.h stdatomic.h threads.h stdbit.h stdckdint.h
"""
C_HEADERS = _C_HEADERS_TEXT.split()
"""C99 to C23, the basic ones first: a name is put down to the first header that brings it."""

_POSIX_HEADERS_TEXT = """
    sys/types.h strings.h unistd.h fcntl.h sys/stat.h sys/time.h sys/select.h sched.h pthread.h semaphore.h
    aio.h arpa/inet.h cpio.h dirent.h dlfcn.h fmtmsg.h fnmatch.h ftw.h glob.h grp.h iconv.h langinfo.h libgen.h
    monetary.h mqueue.h ndbm.h net/if.h netdb.h netinet/in.h netinet/tcp.h nl_types.h poll.h pwd.h regex.h
    search.h spawn.h stropts.h sys/ipc.h sys/mman.h sys/msg.h sys/resource.h sys/sem.h sys/shm.h sys/socket.h
    sys/statvfs.h sys/times.h sys/uio.h sys/un.h sys/utsname.h sys/wait.h syslog.h tar.h termios.h trace.h
    ulimit.h utime.h utmpx.h wordexp.h
"""
POSIX_HEADERS = _POSIX_HEADERS_TEXT.split()
"""POSIX.1-2008 and 2017, XSI and obsolescent ones too."""

ZIG = host_cc()
COMPILERS = {
    "gcc": ["gcc", "-std=gnu2x", "-xc"],
    "gcc, strict": ["gcc", "-std=c11", "-D_XOPEN_SOURCE=700", "-xc"],
    "g++": ["g++", "-std=c++23", "-xc++"],
    "arm-none-eabi-gcc": ["arm-none-eabi-gcc", "-std=gnu2x", "-D_GNU_SOURCE", "-mcpu=cortex-m4", "-xc"],
    **{
        f"zig, {triple}": [*ZIG, "-target", triple, "-std=gnu23", "-D_GNU_SOURCE", "-D_ALL_SOURCE", "-xc"]
        for triple in (
            "x86_64-linux-gnu.2.41",
            "x86_64-linux-musl",
            "arm-linux-musleabihf",
            "riscv64-linux-musl",
            "x86_64-windows-gnu",
            "aarch64-macos",
            "wasm32-wasi",
            "x86_64-freebsd",
            "x86_64-netbsd",
            "x86_64-openbsd",
        )
    },
}
"""Name -> command. Each with all that its library has, and GCC also with what the standards have alone."""


@dataclass(frozen=True)
class Found:
    """What one compiler's headers own, in the letters a prefix may have."""

    names: dict[str, str] = field(default_factory=dict)
    """An identifier or macro -> the header that brings it."""
    spaces: dict[str, str] = field(default_factory=dict)
    """What stands before an underscore of an identifier or macro, in lower case -> the header."""
    files: set[str] = field(default_factory=set)
    """Stems of the files in the compiler's own include folders that these headers bring."""
    predefined: set[str] = field(default_factory=set)


def there(name: str) -> bool:
    """Whether a compiler of the list is installed."""
    return shutil.which(COMPILERS[name][0]) is not None


def known_version(name: str) -> bool:
    """Whether the table was collected from this compiler's headers: Debian 12's, or those that zig brings."""
    if COMPILERS[name][: len(ZIG)] == ZIG:
        return True
    words = [COMPILERS[name][0], "--version"]
    return "12.2" in subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def look_up(name: str) -> Found:
    """All that this compiler's headers of C and POSIX declare, define and bring."""
    command = COMPILERS[name]
    found = Found()
    found.predefined.update(word for word in _macros(command, "") if _plain(word))
    included = includable(command)
    text = "".join(f"#include <{header}>\n" for header in included)
    roots = _roots(command)
    for header, file, line in _lines(_run(command, text, "-E"), included):
        path = Path(file)
        if path.parent in roots:
            found.files.add(path.stem)
        for word in line:
            _add(found, word, header)
    for word, header in _macros_by_header(command, text, included).items():
        _add(found, word, header)
    return found


def includable(command: list[str]) -> list[str]:
    """The headers of C and POSIX that this compiler has, with all that they include in turn."""
    return [header for header in (*C_HEADERS, *POSIX_HEADERS) if _compiles(command, header)]


def _add(found: Found, word: str, header: str) -> None:
    if word.startswith("_"):
        return
    if _plain(word):
        found.names.setdefault(word, header)
    if not word.endswith("_t"):  # no generated name ends so
        parts = word.lower().split("_")
        for count in range(1, len(parts)):
            space = "_".join(parts[:count])
            if _plain(space):
                found.spaces.setdefault(space, header)


def _plain(word: str) -> bool:
    return re.fullmatch(r"[a-z][a-z0-9_]*", word) is not None


def _run(command: list[str], text: str, *flags: str) -> str:
    done = subprocess.run(
        [*command, *flags, "-"], input=text, env=zig_environment(), capture_output=True, text=True, check=True
    )
    return done.stdout


def _compiles(command: list[str], header: str) -> bool:
    text = f"#include <{header}>\n"
    words = [*command, "-E", "-"]
    done = subprocess.run(words, input=text, env=zig_environment(), capture_output=True, text=True, check=False)
    return done.returncode == 0


def _roots(command: list[str]) -> set[Path]:
    words = [*command, "-E", "-v", "-"]
    done = subprocess.run(words, input="", env=zig_environment(), capture_output=True, text=True, check=True)
    listed = done.stderr.partition("search starts here:\n#include <...> search starts here:\n")[2]
    listed = listed or done.stderr.partition("#include <...> search starts here:\n")[2]
    return {Path(line.strip()) for line in listed.partition("End of search list")[0].splitlines()}


def _macros(command: list[str], text: str) -> set[str]:
    return {line.split()[1].partition("(")[0] for line in _run(command, text, "-E", "-dM").splitlines()}


def _macros_by_header(command: list[str], text: str, included: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header, _, words in _lines(_run(command, text, "-E", "-dD"), included, macros=True):
        for word in words:
            found.setdefault(word, header)
    return found


def _lines(text: str, included: list[str], *, macros: bool = False) -> Iterator[tuple[str, str, list[str]]]:
    """Pieces of preprocessed text from one file: the header that brought it, the file, and what the piece declares."""
    header = file = main = ""
    next_line = 1
    piece: list[str] = []
    scanner = _Declarations()

    def declared() -> list[str]:
        if macros:
            return [word for line in piece for word in re.findall(r"^#define (\w+)", line)]
        return scanner.read("\n".join(piece))

    for line in text.splitlines():
        marker = re.match(r'#\s*(?:line\s+)?(\d+)\s+"([^"]*)"((?: \d)*)', line)
        if marker:
            yield header, file, declared()
            piece = []
            main = main or marker[2]
            if marker[2] == main:
                next_line = int(marker[1])
            elif file == main and next_line <= len(included):
                header = included[next_line - 1]
            file = marker[2]
        elif file == main:
            next_line += 1
        else:
            piece.append(line)
    yield header, file, declared()


class _Declarations:
    """Reads preprocessed C piece by piece and gives what stands at file scope: names of functions, types, variables,
    tags and enumerators; types that they are made of among them."""

    def __init__(self) -> None:
        self._braces: list[bool] = []  # open ones; whether an enumeration's, or a block of C++ linkage
        self._parentheses = 0
        self._enumeration = False
        self._linkage = False

    def read(self, text: str) -> list[str]:
        found = []
        text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
        text = re.sub(r'extern\s+"C(\+\+)?"', "extern_linkage", text)
        text = re.sub(r'"(\\.|[^"\\])*"', "", text)
        tokens = re.findall(r"[A-Za-z_]\w*|\d[\w.]*|\S", text)
        for at, token in enumerate(tokens):
            if token == "{":
                self._braces.append(self._enumeration or self._linkage)
                self._enumeration = self._linkage = False
            elif token == "}":
                if self._braces:
                    self._braces.pop()
            elif token == "(":
                self._parentheses += 1
            elif token == ")":
                self._parentheses = max(0, self._parentheses - 1)
            elif token == ";":
                self._enumeration = self._linkage = False
                self._parentheses = 0 if not self._braces else self._parentheses
            elif re.match(r"[A-Za-z_]", token):
                self._enumeration = self._enumeration or token == "enum"
                self._linkage = self._linkage or token == "extern_linkage"
                pointer = at >= 2 and tokens[at - 1] == "*" and tokens[at - 2] == "("
                if all(self._braces) and (self._parentheses == 0 or pointer) and token != "extern_linkage":
                    found.append(token)
        return found
