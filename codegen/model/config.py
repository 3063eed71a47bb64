"""The dimensions of a Llama model, checked once so that nothing downstream has to."""

from __future__ import annotations

from dataclasses import dataclass, fields

from llgen.errors import LlgenError
from llgen.shown import shown_value

from .rope import Frequencies, RopeScaling, plain_frequencies

# Upper limits: generous for a model that lives inside a device, small enough that every size computed from them
# fits 64 bits, so that a corrupt header is refused before anything is allocated.
_LIMITS = {
    "dim": 1 << 16,
    "hidden_dim": 1 << 18,
    "n_layers": 1 << 10,
    "n_heads": 1 << 12,
    "n_kv_heads": 1 << 12,
    "head_dim": 1 << 12,
    "vocab_size": 1 << 20,
    "max_seq_len": 1 << 20,
}


@dataclass(frozen=True)
class ModelConfig:
    """A Llama decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU.

    Raises LlgenError when a value is out of range or the heads do not divide.
    """

    dim: int
    """Width of the residual stream."""
    hidden_dim: int
    """Width of the feed-forward layer."""
    n_layers: int
    n_heads: int
    """Query heads."""
    n_kv_heads: int
    """Key and value heads; divides n_heads."""
    head_dim: int
    """Width of one head; even, because RoPE rotates pairs."""
    vocab_size: int
    max_seq_len: int
    """Positions the model was trained for: the context."""
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    """How the angles are stretched for texts longer than those of the first training; None: not at all."""
    tied: bool = True
    """The classifier is the embedding."""
    bos_id: int | None = 1
    """The token that is put in front of a text; None: a text begins without one."""
    end_ids: tuple[int, ...] = (2, 1)
    """The tokens that end a text, the usual one first; text_tokens.py says how they are found."""

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = _LIMITS.get(field.name)
            value = getattr(self, field.name)
            if limit is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise LlgenError(f"{field.name} is {shown_value(value)}; it must be an integer")
            if not 1 <= value <= limit:
                raise LlgenError(f"{field.name} is {shown_value(value)}; it must be 1 to {limit}", hint=_CORRUPT)
        if self.n_heads % self.n_kv_heads:
            raise LlgenError(f"n_heads is {self.n_heads}, which n_kv_heads {self.n_kv_heads} does not divide", _CORRUPT)
        if self.head_dim % 2:
            raise LlgenError(f"head_dim is {self.head_dim}; RoPE rotates pairs, so it must be even", hint=_CORRUPT)
        if not 1e-37 <= self.norm_eps < 1.0:
            raise LlgenError(
                f"norm_eps is {self.norm_eps}; it must lie between 1e-37, for float32 has to hold it, and 1"
            )
        if not 1.0 < self.rope_theta <= 1e9:
            raise LlgenError(f"rope_theta is {self.rope_theta}; it must be above 1 and at most 1e9")
        if self.rope_scaling is not None:
            self.rope_frequencies()  # refuses a scaling that does not fit the heads
        for name, ids in (("bos_id", () if self.bos_id is None else (self.bos_id,)), ("end_ids", self.end_ids)):
            for token in ids:
                if not 0 <= token < self.vocab_size:
                    raise LlgenError(f"{name} has {token}; the vocabulary holds 0 to {self.vocab_size - 1}")

    def rope_frequencies(self) -> Frequencies:
        """By how much each pair of a head turns from one position to the next, [head_dim / 2], float64."""
        if self.rope_scaling is None:
            return plain_frequencies(self.rope_theta, self.head_dim)
        return self.rope_scaling.frequencies(self.rope_theta, self.head_dim)

    @property
    def rope_amplitude(self) -> float:
        """Factor of all cosines and sines; 1 but for yarn."""
        return 1.0 if self.rope_scaling is None else self.rope_scaling.attention_factor

    @property
    def identity(self) -> bytes:
        """All fields, for hashes. A field that a later version added is left out while it has no effect."""
        told = (field for field in fields(self) if field.name != "rope_scaling" or self.rope_scaling is not None)
        return f"ModelConfig({', '.join(f'{field.name}={getattr(self, field.name)!r}' for field in told)})".encode()

    @property
    def eos_id(self) -> int | None:
        """Of the tokens that end a text the usual one, which is not the one that begins it if there is another."""
        return next((token for token in self.end_ids if token != self.bos_id), self.bos_id if self.end_ids else None)

    @property
    def lead(self) -> tuple[int, ...]:
        """What stands in front of the tokens of every text: BOS, or nothing."""
        return () if self.bos_id is None else (self.bos_id,)

    @property
    def start_id(self) -> int:
        """What a conversation without a prompt begins with: BOS, else the end of a text before it, else token 0."""
        return self.bos_id if self.bos_id is not None else next(iter(self.end_ids), 0)

    @property
    def q_dim(self) -> int:
        """Width of all query heads together."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads together."""
        return self.n_kv_heads * self.head_dim


_CORRUPT = "the file may be corrupt, or of another format than its name says"
