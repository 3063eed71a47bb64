import ast
import math
import re
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llgen.codegen.contract import literals
from llgen.errors import LlgenError


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_reads_back_the_same_bits(value):
    text = literals.float32(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", text)
    assert "." in text or "e" in text  # `1f` is no C
    assert np.float32(text[:-1]).tobytes() == np.float32(value).tobytes()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_float32_refuses_what_c_cannot_write(value):
    with pytest.raises(LlgenError, match="no float32 literal"):
        literals.float32(value)


@given(st.binary(max_size=600), st.integers(1, 70))
def test_string_rows_hold_the_bytes(data, row):
    rows = literals.string_rows(data, row)
    for text in rows:
        assert all(0x20 <= ord(char) < 0x7F for char in text)
        assert "??" not in text  # a trigraph
    # Python reads octal escapes as C does, three digits at most.
    assert b"".join(ast.literal_eval("b" + text) for text in rows) == data


@given(st.integers(1, 3), st.integers(0, 5))
def test_megabytes_are_spelt_out_in_pieces_like_a_few_bytes(row, rest):
    """Rows are spelt 4096 at a time; where one piece ends and the next begins nothing is lost."""
    data = (b"0\x0089?" * (2 * 4096))[: 4096 * row + rest]
    lines = [data[start : start + row] for start in range(0, len(data), row)]
    expected = [literals.string_rows(line, row)[0] for line in lines]
    assert literals.string_lines(data, row) == "".join(f"{line}\n" for line in expected).encode()


def test_string_rows_in_a_compiler(tmp_path):
    data = bytes(range(256)) + b'??/"\\0123\x01' + bytes(reversed(range(256)))
    rows = "\n".join(literals.string_rows(data))
    (tmp_path / "a.c").write_text(
        f"#include <stdio.h>\nstatic const unsigned char a[] = {rows};\n"
        "int main(void) { return fwrite(a, 1, sizeof a - 1, stdout) == 0; }\n"
    )
    subprocess.run(["gcc", "-std=c11", "-o", "a", "a.c"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout == data
