"""Speculation: how many tokens may be evaluated ahead, and the room that they need.

Tokens that followed the last ones earlier in the conversation are evaluated in one block with the newest token; where
one of them comes next, its logits are there already. What is chosen from logits never depends on it.
"""

from __future__ import annotations

from .errors import UsageError

MOST_DRAFTS = 63
"""A block of 64 positions is as many as a host takes anyway; texts do not repeat that much at a time."""

LEAST_MATCH = 2
MOST_MATCH = 4
"""Tokens at the end of the conversation that are looked for earlier in it: the more, the likelier is what followed."""


def positions_for_drafts(positions: int, drafts: int, context: int, *, asked: bool) -> int:
    """Positions of a block that has room for a token and `drafts` behind it: `positions`, or more.

    Raises UsageError when `drafts` is out of range, leaves no room in the context, or asks for larger blocks than the
    user did, when it was the user who `asked`.
    """
    if not 0 <= drafts <= MOST_DRAFTS:
        raise UsageError(f"--speculate takes 0 to {MOST_DRAFTS} tokens, not {drafts}")
    together = f"--speculate {drafts} evaluates {drafts + 1} positions together"
    if drafts and drafts >= context:
        raise UsageError(f"{together}; the context has {context}", f"--speculate {context - 1}")
    if asked and drafts >= positions:
        raise UsageError(f"{together}; --prefill makes blocks of {positions}", f"--prefill {drafts + 1}, or none")
    return max(positions, drafts + 1) if drafts else positions
