"""The dimensions of a Llama model, checked once so that nothing downstream has to."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import LlgenError

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
    tied: bool = True
    """The classifier is the embedding."""
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = _LIMITS.get(field.name)
            value = getattr(self, field.name)
            if limit is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise LlgenError(f"{field.name} is {value!r}; it must be a whole number")
            if not 1 <= value <= limit:
                raise LlgenError(f"{field.name} is {value}; it must be 1 to {limit}", hint=_CORRUPT)
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
        for name in ("bos_id", "eos_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise LlgenError(f"{name} is {getattr(self, name)}; the vocabulary holds 0 to {self.vocab_size - 1}")

    @property
    def q_dim(self) -> int:
        """Width of all query heads together."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads together."""
        return self.n_kv_heads * self.head_dim

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, by its Hugging Face name, in the order they are stored."""
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, self.dim)}
        for layer in range(self.n_layers):
            prefix = f"model.layers.{layer}."
            shapes |= {
                prefix + "input_layernorm.weight": (self.dim,),
                prefix + "self_attn.q_proj.weight": (self.q_dim, self.dim),
                prefix + "self_attn.k_proj.weight": (self.kv_dim, self.dim),
                prefix + "self_attn.v_proj.weight": (self.kv_dim, self.dim),
                prefix + "self_attn.o_proj.weight": (self.dim, self.q_dim),
                prefix + "post_attention_layernorm.weight": (self.dim,),
                prefix + "mlp.gate_proj.weight": (self.hidden_dim, self.dim),
                prefix + "mlp.up_proj.weight": (self.hidden_dim, self.dim),
                prefix + "mlp.down_proj.weight": (self.dim, self.hidden_dim),
            }
        shapes["model.norm.weight"] = (self.dim,)
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab_size, self.dim)
        return shapes

    @property
    def parameter_count(self) -> int:
        """Numbers stored in all tensors."""
        count = 0
        for shape in self.tensor_shapes().values():
            size = 1
            for extent in shape:
                size *= extent
            count += size
        return count


_CORRUPT = "the file may be corrupt, or of another format than its name says"
