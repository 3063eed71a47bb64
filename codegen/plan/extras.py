"""Optional parts of a program besides the model; a program has them only if they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from .prompt import Prompt


@dataclass(frozen=True)
class Extras:
    """The optional parts of one build."""

    prompt: Prompt | None = None
    """The prompt with which every conversation begins; its keys and values are in flash."""
    drafts: int = 0
    """Tokens that may be evaluated ahead, together with the newest one."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of the prompt; empty without a prompt."""
        return () if self.prompt is None else self.prompt.tokens

    @property
    def cached(self) -> int:
        """Number of positions in the cache before a conversation's first evaluation."""
        return 0 if self.prompt is None else self.prompt.cached

    @property
    def identity(self) -> str:
        """A text that differs between different extras."""
        return f"prompt {self.tokens}, drafts {self.drafts}"


PLAIN = Extras()
"""No optional parts."""
