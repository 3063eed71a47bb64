"""Recognises a text that was probably divided into documents in another way than its author meant."""

from __future__ import annotations

from itertools import islice

from llgen.notices import notice

from .sources import Source
from .stream import TokenizedData

_FEW_DOCUMENTS = 20
_MANY_LINES = 100
"""Average number of non-empty lines in a document that is hardly prose, because prose has blank lines."""


def tell_of_few_documents(source: Source, data: TokenizedData) -> None:
    """Give notice when a text has few documents of many lines, so that each line may be meant as a document."""
    documents = len(data.train.starts)
    if source.separator is not None or documents >= _FEW_DOCUMENTS or not source.is_text():
        return
    texts = list(islice(source.documents(), _FEW_DOCUMENTS + 1))
    lines = sum(1 for text in texts for line in text.split("\n") if line.strip())
    if lines >= _MANY_LINES * len(texts):
        count = "one document" if len(texts) == 1 else f"{len(texts)} documents"
        notice(f"the text is {count} of {lines:,} lines; if each line is a separate document: --separator line")
