"""Speculation: how many tokens may be evaluated ahead, and the blocks that they need.

When the last tokens occurred earlier in the conversation, the tokens that followed them there are evaluated in one
block with the newest token. If such a token comes next, its logits are ready. The choice of a token never depends on
speculation.
"""

from __future__ import annotations

from llgen.errors import UsageError

MOST_DRAFTS = 63
"""Maximum: a block of 64 positions, which is the default of a host; texts do not repeat more at a time."""

LEAST_MATCH = 2
MOST_MATCH = 4
"""Number of tokens at the end of a conversation that are searched earlier in it; more tokens give better guesses."""


def positions_for_drafts(positions: int, drafts: int, context: int, *, asked: bool) -> int:
    """Positions of a block that has room for a token and `drafts` tokens after it: `positions`, or more.

    Raises UsageError when `drafts` is out of range or leaves no room in the context; and, if the user `asked` for
    `positions`, when `drafts` needs a larger block.
    """
    if not 0 <= drafts <= MOST_DRAFTS:
        raise UsageError(f"--speculate takes 0 to {MOST_DRAFTS} tokens, not {drafts}")
    together = f"--speculate {drafts} evaluates {drafts + 1} positions together"
    if drafts and drafts >= context:
        raise UsageError(f"{together}; the context has {context}", f"--speculate {context - 1}")
    if asked and drafts >= positions:
        raise UsageError(f"{together}; --prefill makes blocks of {positions}", f"--prefill {drafts + 1}, or none")
    return max(positions, drafts + 1) if drafts else positions
