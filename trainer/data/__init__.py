"""Text to tokens to batches: sources of documents, tokens in memory-mapped shards, windows drawn from them."""

from .batches import Batches
from .shards import tokenize
from .sources import Source, read_documents
from .stream import TokenizedData, TokenStream, is_tokenized, open_tokenized

__all__ = [
    "Batches",
    "Source",
    "TokenStream",
    "TokenizedData",
    "is_tokenized",
    "open_tokenized",
    "read_documents",
    "tokenize",
]
