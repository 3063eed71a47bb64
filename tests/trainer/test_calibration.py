"""Batches of a text: a document is not cut because of a much shorter one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import pytest

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.trainer.quantize import calibration


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary whose texts are numbers: the number of their tokens."""

    def encoded(texts: Iterable[str], vocabulary: Vocabulary, lead: Sequence[int], context: int) -> list[list[int]]:
        return [[1] * min(int(text), context) for text in texts]

    monkeypatch.setattr(calibration, "encode_documents", encoded)


def shapes(texts: list[int], documents: int = 1000) -> list[tuple[int, ...]]:
    made = calibration.batches_of_text(map(str, texts), cast(Vocabulary, None), (1,), 100, documents)
    return [tuple(batch.shape) for batch in made]


@pytest.mark.usefixtures("lengths")
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([2] + [50] * 10, [(10, 50)]),  # a document of one word has nothing to learn from
        ([10, 50, 51, 60], [(1, 10), (3, 50)]),
        ([30] * 20, [(16, 30), (4, 30)]),
        ([500, 40], [(1, 40), (1, 100)]),
        ([1, 2], []),
    ],
)
def test_documents_of_like_length_are_together(texts: list[int], expected: list[tuple[int, ...]]) -> None:
    assert shapes(texts) == expected


@pytest.mark.usefixtures("lengths")
def test_so_many_documents_are_taken() -> None:
    assert shapes([20] * 9, documents=5) == [(5, 20)]
