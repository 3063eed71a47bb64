"""Muon, the weight average, adapters, distillation, evaluation: each is tested by its definition."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from runs import STORIES, TINY, VOCABULARY, metrics, tiny_config
from torch import nn

from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.model.architectures import parameter_count, tensor_shapes
from llgen.errors import LlgenError
from llgen.trainer.adapters import add_adapters, merge_adapters
from llgen.trainer.average import WeightAverage
from llgen.trainer.estimate import estimate
from llgen.trainer.evaluate import encode_documents, score_documents
from llgen.trainer.export import export_run, load_run
from llgen.trainer.model import Llama
from llgen.trainer.muon import Muon, orthogonalized
from llgen.trainer.objective import Objective, divergence, require_fitting_teacher
from llgen.trainer.operators import Operators, cross_entropy
from llgen.trainer.optimizer import make_optimizers
from llgen.trainer.run import train
from llgen.trainer.tokenizer import train_tokenizer, write_tokenizer


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    train(folder / "run", tiny_config())
    return export_run(folder / "run", folder / "model")


# ------------------------------------------------------------------------------------------------------- optimisers


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 40), (1, 1, 7)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    updates = orthogonalized(matrices)
    values = torch.linalg.svdvals(updates)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    for matrix, update in zip(matrices, updates, strict=True):  # the same singular vectors
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        inner = u.T @ update @ v.T
        torch.testing.assert_close(inner, inner.diag().diag(), atol=0.02, rtol=0)


def test_stacking_matrices_changes_nothing() -> None:
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4, 4))]
    apart = [nn.Parameter(parameter.detach().clone()) for parameter in together]
    optimizers = [Muon(together, 0.1), *[Muon([parameter], 0.1) for parameter in apart]]
    for _ in range(3):
        for one, other in zip(together, apart, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_muon_is_pytorchs_but_for_the_digits_that_bfloat16_lacks(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    ours, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
    optimizers = Muon([ours], 0.02, 0.95, 0.1), torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1)
    for _ in range(3):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    difference = torch.linalg.norm((ours - theirs).detach()) / torch.linalg.norm(theirs.detach())
    assert 0.0 < float(difference) < 0.03


def test_muon_refuses_what_is_no_matrix() -> None:
    with pytest.raises(ValueError, match="Muon updates matrices"):
        Muon([nn.Parameter(torch.ones(3))], 0.1)


def test_every_parameter_has_one_optimiser() -> None:
    for name in ("muon", "adamw"):
        model = Llama(TINY)
        parts = make_optimizers(model, tiny_config({"optimizer": {"name": name}})).parts
        held = [parameter for part in parts for group in part.param_groups for parameter in group["params"]]
        assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
        decays = {
            (parameter.dim(), group["weight_decay"])
            for part in parts
            for group in part.param_groups
            for parameter in group["params"]
        }
        assert (1, 0.0) in decays and (1, 0.1) not in decays


def test_the_average_is_a_moving_average() -> None:
    model = nn.Linear(2, 1, bias=False)
    average = WeightAverage(model, 0.5)
    expected = model.weight.detach().clone()
    for iteration in range(1, 30):
        with torch.no_grad():
            model.weight.add_(1.0)
        average.update(iteration)
        decay = min(0.5, iteration / (iteration + 9))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    now = model.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight, now)


# ------------------------------------------------------------------------------------------------------ fine-tuning


def test_merged_adapters_compute_the_same() -> None:
    torch.manual_seed(0)
    model = Llama(TINY)
    tokens = torch.tensor([[1, 270, 280, 290]])
    before = model(tokens)
    add_adapters(model, 4)
    assert torch.equal(model(tokens), before)  # new adapters change nothing
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(std=0.1)
    adapted = model(tokens)
    assert not torch.allclose(adapted, before)
    merge_adapters(model)
    torch.testing.assert_close(model(tokens), adapted)
    assert set(model.state_dict()) == set(tensor_shapes(TINY))


def test_adapters_leave_the_rest_of_the_model_alone(model_directory: Path, tmp_path: Path) -> None:
    train(tmp_path, tiny_config({"start": {"model": str(model_directory), "lora": 2}}))
    before, after = load_checkpoint(model_directory), load_run(tmp_path)
    changed = {name for name, tensor in after.tensors.items() if (tensor != before.tensors[name]).any()}
    assert changed == {name for name in before.tensors if name.endswith("_proj.weight")}


def test_fine_tuning_begins_where_the_model_stands(model_directory: Path, tmp_path: Path) -> None:
    train(tmp_path / "fresh", tiny_config({"schedule": {"iterations": 1}}))
    train(tmp_path / "tuned", tiny_config({"schedule": {"iterations": 1}, "start": {"model": str(model_directory)}}))
    assert metrics(tmp_path / "tuned")[0]["loss"] < metrics(tmp_path / "fresh")[0]["loss"] - 0.5


def test_another_shape_than_the_models_is_refused(model_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"model\.dim is 32; the model to start from, .*, has 16"):
        train(tmp_path, tiny_config({"start": {"model": str(model_directory)}, "model": {"dim": 32}}))


# ----------------------------------------------------------------------------------------------------- distillation


def test_divergence_is_zero_between_equals_and_kullback_leibler_else() -> None:
    generator = torch.Generator().manual_seed(2)
    ours, theirs = (torch.randn(2, 3, 11, generator=generator) for _ in range(2))
    assert float(divergence(ours, ours, 2.0)) == pytest.approx(0.0, abs=1e-6)
    p, q = (logits.double().softmax(-1) for logits in (theirs, ours))
    assert float(divergence(ours, theirs, 1.0)) == pytest.approx(float((p * (p / q).log()).sum(-1).mean()), rel=1e-5)


def test_a_teacher_with_all_the_weight_is_imitated(model_directory: Path) -> None:
    teacher = Llama.from_checkpoint(load_checkpoint(model_directory)).eval().requires_grad_(False)
    tokens = torch.tensor([[1, 270, 280, 290]])
    objective = Objective(Operators(), teacher, weight=1.0)
    assert float(objective(teacher, tokens, tokens)) == pytest.approx(0.0, abs=1e-6)
    half = Objective(Operators(), teacher, weight=0.5)
    expected = 0.5 * cross_entropy(teacher(tokens), tokens)
    assert float(half(teacher, tokens, tokens)) == pytest.approx(float(expected), rel=1e-5)


def test_distilling_learns_from_the_teacher(model_directory: Path, tmp_path: Path) -> None:
    start = {"teacher": str(model_directory), "teacher_weight": 1.0}
    train(tmp_path, tiny_config({"start": start, "schedule": {"iterations": 40}}))  # with its tokenizer
    lines = metrics(tmp_path)
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]


def test_a_teacher_of_other_tokens_is_refused(model_directory: Path, tmp_path: Path) -> None:
    start, size = {"start": {"teacher": str(model_directory)}}, TINY.vocab_size
    other = train_tokenizer([story[::-1] for story in STORIES], size)
    write_tokenizer(other, tmp_path / "other.model")
    with pytest.raises(LlgenError, match="the teacher's tokenizer has other pieces"):
        train(tmp_path / "run", tiny_config(start, {"data": {"tokenizer": str(tmp_path / "other.model")}}))
    teacher = load_checkpoint(model_directory)
    assert teacher.vocabulary is not None
    with pytest.raises(LlgenError, match="the teacher has 320 tokens and the student 300"):
        require_fitting_teacher(teacher, train_tokenizer(STORIES, 300), 32)
    with pytest.raises(LlgenError, match="the teacher has 32 positions and the student 33"):
        require_fitting_teacher(teacher, teacher.vocabulary, 33)


# ------------------------------------------------------------------------------------------------------- evaluation


def test_scores_do_not_depend_on_the_company() -> None:
    torch.manual_seed(1)
    model = Llama(TINY)
    together = score_documents(model, VOCABULARY, STORIES[:20])
    apart = [score_documents(model, VOCABULARY, [text]) for text in STORIES[:20]]
    assert together.documents == 20
    assert together.tokens == sum(score.tokens for score in apart) == 20 * TINY.max_seq_len
    assert together.nats == pytest.approx(sum(score.nats for score in apart), rel=1e-5)
    assert together.perplexity == pytest.approx(math.exp(together.nats_per_token))


def test_bytes_are_those_of_the_tokens_scored() -> None:
    text = "Once upon a time"
    score = score_documents(Llama(TINY), VOCABULARY, [text])
    assert (score.documents, score.bytes) == (1, len(text))
    assert score.tokens == len(VOCABULARY.encode(text))
    assert list(encode_documents(["", text], VOCABULARY, (1,), 3)) == [[1, *VOCABULARY.encode(text)[:3]]]


def test_no_document_is_refused() -> None:
    with pytest.raises(LlgenError, match="there is no document to evaluate"):
        score_documents(Llama(TINY), VOCABULARY, [])


def test_estimate_counts_what_training_keeps() -> None:
    need = estimate(tiny_config({"optimizer": {"name": "adamw", "ema": 0.9}}))
    assert need.parameters == need.trained == parameter_count(TINY)
    assert need.weights == need.gradients == 4 * parameter_count(TINY)
    assert need.optimizer == 3 * 4 * parameter_count(TINY)
    assert need.tokens_per_iteration == 4 * TINY.max_seq_len
    logits = 4 * TINY.max_seq_len * TINY.vocab_size * 4
    assert need.activations > logits
    larger = estimate(tiny_config({"batch": {"sequences": 8}}))
    assert larger.activations == pytest.approx(2 * need.activations, rel=0.01)


def test_a_model_directory_is_read_back(model_directory: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(model_directory)
    save_checkpoint(Llama.from_checkpoint(checkpoint).to_checkpoint("again", checkpoint.vocabulary), tmp_path / "again")
    assert load_checkpoint(tmp_path / "again").sha256 == checkpoint.sha256
