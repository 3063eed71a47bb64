"""Fixtures of the target tests."""

from __future__ import annotations

import pytest
from models import random_checkpoint

from llgen.codegen.model.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def odd() -> Checkpoint:
    """Hidden 172, heads of 6, untied, two KV heads, a vocabulary that ends inside a block; no tokenizer."""
    return random_checkpoint()
