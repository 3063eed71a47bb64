"""The settings of a training run, with their defaults and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llgen.codegen.formats.hf.rope import scaling_from_hf
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import RopeScaling
from llgen.errors import LlgenError, UsageError
from llgen.shown import shown
from llgen.whole import replacing

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelShape(_Section):
    """Dimensions of the Llama model, and constants of its arithmetic."""

    dim: Count = 64
    hidden_dim: Count | None = None
    """None: 8/3 of dim, rounded up to a multiple of 4."""
    n_layers: Count = 5
    n_heads: Count = 8
    n_kv_heads: Count | None = None
    """None: half of n_heads when that is even, else n_heads."""
    vocab_size: Count = 512
    max_seq_len: Annotated[int, Field(ge=2)] = 512
    tied: bool = True
    norm_eps: Positive = 1e-5
    rope_theta: Positive = 10000.0
    rope_scaling: dict[str, Any] | None = None
    """How RoPE is scaled, by the names of Hugging Face's config.json. None: not at all."""

    def resolved(self) -> ModelConfig:
        """All dimensions, defaults filled in; raises UsageError when they contradict each other."""
        if self.dim % self.n_heads:
            raise UsageError(
                f"model.dim is {self.dim}, which model.n_heads {self.n_heads} does not divide",
                f"model.dim={-(-self.dim // self.n_heads) * self.n_heads}",
            )
        half = self.n_heads // 2 if self.n_heads % 2 == 0 else self.n_heads
        try:
            return ModelConfig(
                dim=self.dim,
                hidden_dim=self.hidden_dim or -(-self.dim * 8 // 12) * 4,
                n_layers=self.n_layers,
                n_heads=self.n_heads,
                n_kv_heads=self.n_kv_heads or half,
                head_dim=self.dim // self.n_heads,
                vocab_size=self.vocab_size,
                max_seq_len=self.max_seq_len,
                norm_eps=self.norm_eps,
                rope_theta=self.rope_theta,
                rope_scaling=self._scaling(),
                tied=self.tied,
            )
        except LlgenError as error:  # its hint is about files
            raise UsageError(f"[model]: {error.message}", "doc/training.md lists the settings") from error

    def _scaling(self) -> RopeScaling | None:
        if self.rope_scaling is None:
            return None
        beside = {"max_position_embeddings": self.max_seq_len}
        return scaling_from_hf(self.rope_scaling, beside, "rope_scaling", "model")


class Data(_Section):
    """The text that a model is trained on, and its tokenizer."""

    source: str | None = None
    """A text file, a JSON lines file, either of them packed by gzip or zstd, a folder of such files, or a folder of
    tokens made by `llgen data`. None: stories that llgen makes up."""
    field: str | None = None
    """The field of JSON lines that holds the text."""
    separator: str | None = None
    """The line that separates two documents. None: <|endoftext|> if the text has it, else blank lines."""
    tokenizer: str | None = None
    """A tokenizer file that `llgen import` can read. None: one of model.vocab_size pieces is trained on the text."""
    held_out: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    """The share of documents that are used for evaluation only."""
    stories: Count = 50_000
    """How many stories llgen makes up when there is no source."""
    names: Annotated[int, Field(ge=3, le=8)] = 8
    """Number of names for girls, for boys, and for animals of each sex in made-up stories; fewer are learned sooner."""


class Batch(_Section):
    """The sequences whose gradients make one step of the optimiser."""

    sequences: Count = 2
    """Sequences of full length, over all processes; shorter sequences are more, with the same number of tokens."""
    accumulation: Count = 1
    """Number of batches whose gradients are averaged before one step."""
    growth: Share = 0.5
    """The share of training, from its start, with sequences shorter than the context; see schedule.py."""
    aligned: Share = 0.0
    """The share of sequences that start where a document starts."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class OptimizerSettings(_Section):
    """How the optimiser makes steps from gradients."""

    name: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the matrices of the layers, AdamW for embeddings and gains. adamw: AdamW for all."""
    learning_rate: Positive | None = None
    """Peak of AdamW's learning rate. None: by width, 0.008 at dim 64 and lower for wider models."""
    matrix_learning_rate: Positive = 0.02
    """Peak of Muon's learning rate; the best value does not depend on the width."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decay of matrices; gains do not decay."""
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    """Momentum of Muon."""
    clip_norm: Positive = 1.0
    """Maximum norm of the gradient; a longer gradient is scaled down to it."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of a moving average of the weights, which is evaluated and exported in their place; 0: no average."""


class Schedule(_Section):
    """When training ends, and how the learning rate changes until then."""

    iterations: Count | None = None
    minutes: Positive | None = None
    """Time limit, in place of iterations; the learning rate then follows the clock and is lowest at the end."""
    warmup: Annotated[int, Field(ge=0)] = 50
    """Number of iterations in which the learning rate rises from zero to its peak."""
    final: Share = 0.0
    """The learning rate at the end of the cosine decay, as a share of the peak."""

    @model_validator(mode="after")
    def _one_end(self) -> Schedule:
        if self.iterations is not None and self.minutes is not None:
            raise ValueError("iterations and minutes both say when training ends; give one of them")
        return self


class Evaluation(_Section):
    """How often the held-out loss is measured and a sample is shown."""

    interval: Count = 500
    """Iterations from one evaluation to the next; each evaluation also writes a checkpoint."""
    batches: Count = 16
    prompt: str | None = "Once upon a time"
    """The start of the sample that each evaluation shows; None or empty: no samples."""
    sample_tokens: Count = 60


class Hardware(_Section):
    """The device, the arithmetic, and how the work is divided."""

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Format of products; weights stay float32. auto: bfloat16 on a GPU that supports it, else float32."""
    compile: bool = False
    """Whether torch.compile fuses the model's operators; useful on a GPU and for long runs. On a CPU, PyTorch then uses
    only deterministic algorithms, so that losses repeat digit for digit; on a GPU their last digits may differ."""
    fused: bool | None = None
    """Whether llgen's own C computes norms, attention, activations and the loss, on a CPU. None: when the arithmetic is
    float32 and the C can be compiled."""
    shard: bool = False
    """Whether weights and optimiser state are divided among the processes (FSDP), for models too large for a device."""
    replicas: Count | None = None
    """Number of processes that divide each batch, on a CPU. None: one per core for a narrow model, else one, whose
    operators use all cores. The last digits of the losses depend on the number, so a run keeps it."""


class Start(_Section):
    """The model that a run starts from, and the teacher that it imitates."""

    model: str | None = None
    """A model directory to fine-tune; its shape and tokenizer are used. None: random weights."""
    lora: Annotated[int, Field(ge=0)] = 0
    """Rank of low-rank adapters, which are trained in place of the weights and merged at export; 0: no adapters."""
    teacher: str | None = None
    """A model directory with the same vocabulary; the run learns its distributions. None: no teacher."""
    teacher_weight: Share = 0.5
    """The share of the loss that is the divergence from the teacher; the rest is cross-entropy."""
    teacher_temperature: Positive = 1.0

    @model_validator(mode="after")
    def _adapters_of_something(self) -> Start:
        if self.lora and self.model is None:
            raise ValueError("lora needs a model to adapt; start.model names it")
        return self


class TrainConfig(_Section):
    """All settings of a run."""

    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 1
    model: ModelShape = ModelShape()
    data: Data = Data()
    batch: Batch = Batch()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: Schedule = Schedule()
    evaluation: Evaluation = Evaluation()
    hardware: Hardware = Hardware()
    start: Start = Start()

    @model_validator(mode="after")
    def _muon_is_whole(self) -> TrainConfig:
        if self.hardware.shard and self.optimizer.name == "muon":
            raise ValueError("Muon needs whole matrices, and shard=true divides them; optimizer.name=adamw")
        return self

    @model_validator(mode="after")
    def _one_thread_drops(self) -> TrainConfig:
        if self.batch.dropout and (self.hardware.replicas or 1) > 1:
            raise ValueError("dropout works in one process only; hardware.replicas=1")
        return self

    @property
    def learning_rate(self) -> float:
        """Peak of AdamW's learning rate."""
        return self.optimizer.learning_rate or usual_learning_rate(self.model.dim)

    @property
    def max_seconds(self) -> float | None:
        """The time limit in seconds; None when iterations end the run."""
        return None if self.schedule.minutes is None else self.schedule.minutes * 60.0

    def save(self, path: Path) -> None:
        """Write all values as JSON; the file is written whole or not at all."""
        with replacing(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what `save` wrote; raises LlgenError for a missing file or other content."""
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise LlgenError(f"'{path.parent}' is not a training run: it has no {path.name}") from error
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise LlgenError(
                f"'{path}' is not a training configuration: {shown(reason, 200)}", "start a new run"
            ) from error


def usual_learning_rate(dim: int) -> float:
    """Peak of AdamW's learning rate for a width: proportional to 1 / dim (as in muP: Yang et al., 2022,
    arXiv:2203.03466).

    0.008 was measured to be the best for dim 64. Below dim 32 the rate does not rise further.
    """
    return 8e-3 * 64 / max(dim, 32)
