"""From text to batches: sources of documents, tokens in memory-mapped shards, random windows of tokens."""

from .advice import tell_of_few_documents
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
    "tell_of_few_documents",
    "tokenize",
]
