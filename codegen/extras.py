"""What a program may have beside the model: nothing of it unless it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from .prompt import Prompt


@dataclass(frozen=True)
class Extras:
    """Chosen for one build."""

    prompt: Prompt | None = None
    """Every conversation begins with it; its keys and values lie in flash."""
    drafts: int = 0
    """Tokens that may be evaluated ahead, together with the newest one."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Of the prompt, or none."""
        return () if self.prompt is None else self.prompt.tokens

    @property
    def cached(self) -> int:
        """Positions that a conversation has before the first one is evaluated."""
        return 0 if self.prompt is None else self.prompt.cached

    @property
    def identity(self) -> str:
        """Differs where builds differ."""
        return f"prompt {self.tokens}, drafts {self.drafts}"


PLAIN = Extras()
"""The model alone."""
