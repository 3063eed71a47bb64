"""The Llama architecture in PyTorch: the model that is trained, and the one that generated programs are compared with.

RMSNorm (Zhang and Sennrich, 2019, arXiv:1910.07467), rotary position embedding (Su et al., 2021, arXiv:2104.09864),
grouped-query attention (Ainslie et al., 2023, arXiv:2305.13245) and SwiGLU (Shazeer, 2020, arXiv:2002.05202),
combined as in LLaMA (Touvron et al., 2023, arXiv:2302.13971).

The modules nest so that `state_dict()` has exactly the names and shapes of `tensor_shapes(config)`. Shapes in
comments: B batch, T time (positions), D dim, H query heads, G key/value heads, E head_dim, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError

from .operators import Operators, rotate, shared

_INIT_SCALE = 0.4


@dataclass
class Cache:
    """Keys and values of earlier positions, so that a step computes only the new positions."""

    keys: Tensor  # [layers, B, G, max_seq_len, E]
    values: Tensor  # [layers, B, G, max_seq_len, E]
    length: int = 0

    @classmethod
    def empty(cls, config: ModelConfig, batch: int = 1, device: torch.device | None = None) -> Cache:
        """An empty cache for `config.max_seq_len` positions of `batch` sequences."""
        shape = (config.n_layers, batch, config.n_kv_heads, config.max_seq_len, config.head_dim)
        return cls(torch.zeros(shape, device=device), torch.zeros(shape, device=device))

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's new keys and values [B, G, T, E] after the `length` earlier ones; returns all of both."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class _Part(nn.Module):
    """A module that computes with `operators`; all modules of a model use the same, see `Llama.use`."""

    operators = Operators()


class RMSNorm(_Part):
    """Divide by the root mean square of the last axis, then multiply by a learned gain."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.operators.rms_norm(x, self.weight, self.eps)


class Attention(_Part):
    """Causal self-attention in which n_heads / n_kv_heads query heads share one key/value head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.q_proj = nn.Linear(config.dim, config.q_dim, bias=False)
        self.k_proj = nn.Linear(config.dim, config.kv_dim, bias=False)
        self.v_proj = nn.Linear(config.dim, config.kv_dim, bias=False)
        self.o_proj = nn.Linear(config.q_dim, config.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None, layer: int) -> Tensor:
        config = self.config
        batch, time, _ = x.shape
        q = self.q_proj(x).view(batch, time, config.n_heads, config.head_dim)  # [B, T, H, E]
        k = self.k_proj(x).view(batch, time, config.n_kv_heads, config.head_dim)  # [B, T, G, E]
        v = self.v_proj(x).view(batch, time, config.n_kv_heads, config.head_dim)  # [B, T, G, E]
        if cache is None:
            y = self.operators.attention(q, k, v, cos, sin)  # [B, T, H, E]
        else:
            y = _attention_with_past(q, k, v, cos, sin, cache, layer)
        projected: Tensor = self.o_proj(y.reshape(batch, time, config.q_dim))  # [B, T, D]
        return projected


def _attention_with_past(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, cache: Cache, layer: int) -> Tensor:
    """As `Operators.attention`, for positions after those in the cache; adds their keys and values to the cache."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # [B, H or G, T, E]
    time, heads = q.shape[2], q.shape[1]
    keys, values = cache.extend(layer, rotate(k, cos, sin), v)  # [B, G, past + T, E]
    if time == 1:  # query heads that share keys are computed as positions; each sees all keys
        together = rotate(q, cos, sin).reshape(len(q), keys.shape[1], -1, q.shape[3])  # [B, G, H / G, E]
        return F.scaled_dot_product_attention(together, keys, values).reshape(len(q), 1, heads, q.shape[3])
    visible = torch.ones(time, cache.length + time, dtype=torch.bool, device=q.device).tril(cache.length)
    y = F.scaled_dot_product_attention(
        rotate(q, cos, sin), shared(keys, heads), shared(values, heads), attn_mask=visible
    )
    return y.transpose(1, 2)


class MLP(_Part):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.up_proj = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.down_proj = nn.Linear(config.hidden_dim, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.down_proj(self.operators.swiglu(self.gate_proj(x), self.up_proj(x)))
        return projected


class Block(nn.Module):
    """One decoder layer: attention, then feed-forward, each on a normalised copy of the residual stream."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.input_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None, layer: int) -> Tensor:
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin, cache, layer))
        out: Tensor = x + self.dropout(self.mlp(self.post_attention_layernorm(x)))
        return out


class Decoder(nn.Module):
    """Embedding, layers and final norm; Hugging Face calls it `model`."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.dim)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(config, dropout) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        x = self.dropout(self.embed_tokens(tokens))  # [B, T, D]
        for index, layer in enumerate(self.layers):
            x = layer(x, cos, sin, cache, index)
        normalised: Tensor = self.norm(x)
        return normalised


class Llama(nn.Module):
    """A Llama decoder with its classifier (`lm_head`, or the embedding itself when `config.tied`)."""

    rope_cos: Tensor
    rope_sin: Tensor

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config, dropout)
        self.lm_head = None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)
        cos, sin = rope_tables(config)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        # The usual standard deviation, 0.02, suits widths near 400; a narrow model learns faster from larger weights.
        std = _INIT_SCALE / math.sqrt(self.config.dim)
        # Each layer adds twice to the residual stream; with this scale, its variance does not grow with depth (GPT-2).
        residual_std = std / math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=residual_std if into_residual else std)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of `tokens` [B, T]. With a cache, the tokens follow its positions and are added to it.

        Raises LlgenError when there are more positions than `config.max_seq_len`.
        """
        past = cache.length if cache is not None else 0
        end = past + tokens.shape[1]
        if end > self.config.max_seq_len:
            raise LlgenError(
                f"the sequence has {end} positions; the model was made for {self.config.max_seq_len}",
                "shorten the text, or train with a larger model.max_seq_len",
            )
        x = self.model(tokens, self.rope_cos[past:end], self.rope_sin[past:end], cache)  # [B, T, D]
        if cache is not None:
            cache.length = end
        classifier = self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight  # [V, D]
        return F.linear(x, classifier)

    def use(self, operators: Operators) -> None:
        """Compute with these operators from now on."""
        for module in self.modules():
            if isinstance(module, _Part):
                module.operators = operators

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, dropout: float = 0.0) -> Llama:
        """The model with the weights of a checkpoint."""
        model = cls(checkpoint.config, dropout)
        tensors = {name: torch.from_numpy(np.array(tensor)) for name, tensor in checkpoint.tensors.items()}
        model.load_state_dict(tensors)
        return model

    def to_checkpoint(self, name: str, vocabulary: Vocabulary | None) -> Checkpoint:
        """A copy of the weights as a checkpoint; raises LlgenError when they are not finite."""
        tensors = {key: tensor.detach().cpu().numpy().copy() for key, tensor in self.state_dict().items()}
        return Checkpoint(name, self.config, tensors, vocabulary)


def rope_tables(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine [max_seq_len, E / 2] of position * frequency, times the amplitude, from float64."""
    positions = torch.arange(config.max_seq_len, dtype=torch.float64)
    angles = torch.outer(positions, torch.tensor(config.rope_frequencies()))
    amplitude = config.rope_amplitude
    return (amplitude * angles.cos()).float(), (amplitude * angles.sin()).float()
