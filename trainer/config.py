"""What a training run is told: every setting, its default and its limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llgen.codegen.config import ModelConfig
from llgen.codegen.errors import LlgenError, UsageError

from .files import replacing

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelShape(_Section):
    """The Llama model, by Hugging Face's names where it has them."""

    dim: Count = 64
    hidden_dim: Count | None = None
    """None: 8/3 of dim, rounded up to a multiple of 4."""
    n_layers: Count = 5
    n_heads: Count = 8
    n_kv_heads: Count | None = None
    """None: half of the query heads where they divide, else one for each."""
    vocab_size: Count = 512
    max_seq_len: Annotated[int, Field(ge=2)] = 512
    tied: bool = True
    norm_eps: Positive = 1e-5
    rope_theta: Positive = 10000.0

    def resolved(self) -> ModelConfig:
        """All dimensions; raises UsageError when they do not go together."""
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
                tied=self.tied,
            )
        except LlgenError as error:  # whose hint is for files
            raise UsageError(f"[model]: {error.message}", "doc/training.md lists the settings") from error


class Data(_Section):
    """What is learned from."""

    source: str | None = None
    """A text or JSONL file, a folder of them, gzip or zstd, or a folder of tokens made by `llgen data`. None: stories
    that llgen makes up."""
    field: str | None = None
    """The field that holds the text, in JSONL."""
    separator: str | None = None
    """What parts two documents; None: a line <|endoftext|> where there is one, else blank lines."""
    tokenizer: str | None = None
    """A tokenizer.model to use; None: one of model.vocab_size pieces is trained on the data."""
    held_out: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    """The share of documents that is kept for evaluation."""
    stories: Count = 50_000
    """How many stories llgen makes up when there is no source."""
    names: Annotated[int, Field(ge=3, le=8)] = 8
    """Their names for girls, boys, and animals of either sex, so many each; fewer are learned sooner."""


class Batch(_Section):
    """What goes through the model before one step of the optimiser."""

    sequences: Count = 2
    """Sequences of full length, over all machines together; of shorter ones, as many more."""
    accumulation: Count = 1
    """Batches whose gradients are averaged before one step."""
    growth: Share = 0.5
    """The share of training in which sequences are still shorter than the context; see schedule.py."""
    aligned: Share = 0.0
    """The share of the sequences that start with a document."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class OptimizerSettings(_Section):
    """How gradients become steps."""

    name: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the matrices of the layers, AdamW for embeddings and gains. adamw: AdamW for all."""
    learning_rate: Positive | None = None
    """AdamW's peak. None: what suits the width, 0.008 at dim 64 and less the wider."""
    matrix_learning_rate: Positive = 0.02
    """Muon's peak; it does not depend on the width."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """On matrices; gains do not decay."""
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    """Muon's."""
    clip_norm: Positive = 1.0
    """Longest gradient; longer ones are scaled down to it."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of a moving average of the weights, which is then what is evaluated and exported; 0: none."""


class Schedule(_Section):
    """When training ends, and the way of the learning rate until then."""

    iterations: Count | None = None
    minutes: Positive | None = None
    """Time instead of iterations; the learning rate then follows the clock, and has come down when time is up."""
    warmup: Annotated[int, Field(ge=0)] = 50
    """Iterations in which the learning rate rises from zero."""
    final: Share = 0.0
    """Where the cosine ends, as a share of the peak."""

    @model_validator(mode="after")
    def _one_end(self) -> Schedule:
        if self.iterations is not None and self.minutes is not None:
            raise ValueError("iterations and minutes both say when training ends; give one of them")
        return self


class Evaluation(_Section):
    """How often a run looks at itself."""

    interval: Count = 500
    """Iterations between two evaluations, each of which also writes a checkpoint."""
    batches: Count = 16
    prompt: str | None = "Once upon a time"
    """What a sample is begun with at every evaluation; None or nothing: no samples."""
    sample_tokens: Count = 60


class Hardware(_Section):
    """What the work is done on."""

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the arithmetic; weights stay float32. auto: bfloat16 on a GPU that has it, else float32."""
    compile: bool = False
    """Whether torch.compile fuses the model's operators; pays on a GPU, and on long runs."""
    fused: bool | None = None
    """Whether norms, attention, activations and the loss are computed by C of llgen's own, on a CPU. None: where the
    arithmetic is float32 and it can be compiled."""
    shard: bool = False
    """Whether weights and optimiser are divided among the processes (FSDP), for models too large for one device."""
    replicas: Count | None = None
    """Processes that each take a part of every batch, on a CPU. None: all cores for a narrow model, else one, whose
    operators then use all cores. The losses depend on it in the last digits, so a run keeps its number."""


class Start(_Section):
    """What a run begins with, other than random weights, and whom it listens to."""

    model: str | None = None
    """A model directory to fine-tune; the shape and the tokenizer are its own."""
    lora: Annotated[int, Field(ge=0)] = 0
    """Rank of low-rank adapters that are trained instead of the model, and merged at export; 0: none."""
    teacher: str | None = None
    """A model directory with the same vocabulary, whose distributions are imitated."""
    teacher_weight: Share = 0.5
    """The share of the loss that is the divergence from the teacher; the rest is cross-entropy."""
    teacher_temperature: Positive = 1.0

    @model_validator(mode="after")
    def _adapters_of_something(self) -> Start:
        if self.lora and self.model is None:
            raise ValueError("lora adapts a model; start.model names it")
        return self


class TrainConfig(_Section):
    """The whole of a run's settings."""

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
            raise ValueError("Muon needs whole matrices, which shard=true divides; optimizer.name=adamw")
        return self

    @model_validator(mode="after")
    def _one_thread_drops(self) -> TrainConfig:
        if self.batch.dropout and (self.hardware.replicas or 1) > 1:
            raise ValueError("with dropout, each replica would take chances of its own; hardware.replicas=1")
        return self

    @property
    def learning_rate(self) -> float:
        """AdamW's peak."""
        return self.optimizer.learning_rate or usual_learning_rate(self.model.dim)

    @property
    def max_seconds(self) -> float | None:
        """Wall time, when that ends the run."""
        return None if self.schedule.minutes is None else self.schedule.minutes * 60.0

    def save(self, path: Path) -> None:
        """Write as JSON, every value told; whole or not at all."""
        with replacing(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what `save` wrote; raises LlgenError when it is something else."""
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise LlgenError(f"'{path.parent}' is not a training run: it has no {path.name}") from error
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise LlgenError(f"'{path}' is not a training configuration: {reason}", "start a new run") from error


def usual_learning_rate(dim: int) -> float:
    """AdamW's peak for a model of this width: the wider, the smaller (as in muP: Yang et al., 2022, arXiv:2203.03466).

    Anchored at what was measured best for dim 64.
    """
    return 8e-3 * 64 / max(dim, 32)
