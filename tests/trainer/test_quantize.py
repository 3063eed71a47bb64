"""Quantising with PyTorch: its model computes what the reference computes, GPTQ loses less, commands report it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from commands import invoke
from hypothesis import given
from hypothesis import strategies as st
from models import MIXED, ODD, SCALINGS, random_checkpoint
from runs import STORIES, tiny_config
from torch import Tensor

from llgen.codegen.cli.evaluate import command as evaluate
from llgen.codegen.cli.quantize import command as quantize
from llgen.codegen.contract import numerics
from llgen.codegen.contract.matrix import LEVELS, to_bits
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.spec import lower
from llgen.codegen.quantise.fold import fold
from llgen.codegen.quantise.quantize import quantized, round_to_nearest
from llgen.codegen.quantise.quantized import load_quantized
from llgen.codegen.reference.forward import Reference
from llgen.errors import ExitCode, LlgenError, UsageError
from llgen.trainer.export import export_run
from llgen.trainer.quantize import calibration, gptq
from llgen.trainer.quantize.allocate import allocate
from llgen.trainer.quantize.calibration import batches_of_text
from llgen.trainer.quantize.compare import Comparison, Contender, compare
from llgen.trainer.quantize.compare import _summary as summary
from llgen.trainer.quantize.folded import FoldedLlama, hadamard, hadamard_matrix, rounded
from llgen.trainer.quantize.gptq import Curvature, round_with_curvature
from llgen.trainer.quantize.smoothing import hidden_divisors, smoothed
from llgen.trainer.run import train

TIED = replace(ODD, tied=True, n_layers=2)
SCALED = replace(ODD, rope_scaling=SCALINGS["yarn, all set"])


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    train(folder / "run", tiny_config({"schedule": {"iterations": 60}}))
    return export_run(folder / "run", folder / "model")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    path.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    return path


def call(command: click.Command, *arguments: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(invoke(command, *arguments, "--json").stdout)
    return answer


@pytest.mark.parametrize("config", [ODD, TIED, MIXED, SCALED], ids=["untied", "tied", "mixed", "scaled rotation"])
@pytest.mark.parametrize(("scheme", "kv"), [("f32", "f32"), ("q8", "f32"), ("q8", "q8"), ("q4", "q8")])
def test_the_twin_computes_what_the_reference_does(config: ModelConfig, scheme: str, kv: str) -> None:
    """Require equality within float error, except for a few numbers that round to the other side."""
    model = quantized(random_checkpoint(config), scheme, kv)
    tokens = [int(token) for token in np.random.default_rng(1).integers(config.vocab_size, size=20)]
    expected = Reference(model).feed(tokens)
    twin, matrices = FoldedLlama.of(model)
    found = twin(torch.tensor([tokens]), matrices)[0].numpy()
    spread = expected.max() - expected.min()
    difference = np.abs(found - expected) / spread
    assert np.median(difference) < (1e-6 if scheme == "f32" else 2e-3)
    assert difference.max() < (1e-5 if scheme == "f32" else 4e-2)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "shape", [{}, {"dim": 64}, {"dim": 136, "head_dim": 64}, {"dim": 256, "head_dim": 24, "n_kv_heads": 4}]
)
def test_mixing_and_smoothing_leave_the_function(shape: dict[str, int], tied: bool) -> None:
    config = replace(MIXED, tied=tied, n_layers=2, **shape)
    spec = lower(random_checkpoint(config))
    tokens = torch.randint(config.vocab_size, (3, 20), generator=torch.Generator().manual_seed(1))
    whole = fold(spec, "q8")
    even = smoothed(whole, hidden_divisors(whole, [tokens]))
    assert not np.array_equal(whole.matrices["w2.1"], even.matrices["w2.1"])
    twin, matrices = FoldedLlama.exact(fold(spec, "f32"))
    expected = twin(tokens, matrices)
    for folded in (whole, even):
        twin, matrices = FoldedLlama.exact(folded)
        torch.testing.assert_close(twin(tokens, matrices), expected, rtol=0.0, atol=1e-4 * float(expected.abs().max()))


def test_smoothing_divides_by_the_fourth_root_of_a_channels_size() -> None:
    checkpoint = random_checkpoint()
    tokens = [torch.arange(60).reshape(3, 20)]

    def divisors(factors: dict[int, float]) -> Tensor:
        tensors = {name: values.copy() for name, values in checkpoint.tensors.items()}
        for channel, factor in factors.items():
            tensors["model.layers.0.mlp.up_proj.weight"][channel] *= factor
        return hidden_divisors(fold(lower(replace(checkpoint, tensors=tensors)), "q8"), tokens)[0]

    before, after = divisors({}), divisors({3: 16.0, 4: 0.0})
    torch.testing.assert_close(after[3] / before[3], torch.tensor(2.0), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(after[5:], before[5:])
    assert float(after[4]) == pytest.approx(float(after.max()) * 1e-3**0.25)
    silent = divisors(dict.fromkeys(range(ODD.hidden_dim), 0.0))
    assert torch.equal(silent, torch.ones(ODD.hidden_dim))


def test_hadamard_is_that_of_the_contract_and_its_own_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-999, 1000, (3, 48), generator=generator).float().requires_grad_()  # exact sums in any order
    matrix = hadamard_matrix(16)
    y = hadamard(x, matrix)
    assert y.detach().numpy().tobytes() == numerics.hadamard(x.detach().numpy(), 16).tobytes()
    weights = torch.arange(48.0)
    (y * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, hadamard(weights, matrix).expand(3, 48))
    torch.testing.assert_close(hadamard(x.t().contiguous().t(), matrix), y)
    assert hadamard(x, hadamard_matrix(1)) is x


def test_rounding_passes_gradients_on() -> None:
    x = torch.tensor([[0.3, -1.0, 0.77]], requires_grad=True)
    y = rounded(x)
    steps = y.detach() * 127
    torch.testing.assert_close(steps, steps.round())
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("bits", LEVELS)
def test_gptq_errs_less_on_its_inputs_than_rounding_to_nearest(bits: int) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(400, 50)) @ generator.normal(size=(50, 50)) * np.logspace(0, -2, 50)
    values = generator.normal(size=(9, 50)).astype(np.float32)
    hessian = torch.from_numpy(inputs.T @ inputs / len(inputs))
    nearest = to_bits(values, bits)
    ours = round_with_curvature(values, hessian, bits)

    def error(dequantized: np.ndarray[Any, Any]) -> float:
        return float(np.square(inputs @ (dequantized - values).T).mean())

    assert ours.bits == bits
    assert error(ours.dequantized()) < 0.6 * error(nearest.dequantized())


@pytest.mark.parametrize("bits", LEVELS)
def test_what_gptq_found_is_polished_and_scales_fitted_in_turns(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    inputs = generator.normal(size=(400, 50)) @ generator.normal(size=(50, 50))
    values = generator.normal(size=(40, 50)).astype(np.float32)
    hessian = torch.from_numpy(inputs.T @ inputs / len(inputs))

    def error(turns: int) -> float:
        monkeypatch.setattr(gptq, "_REFITS", turns)
        return float(np.square(inputs @ (round_with_curvature(values, hessian, bits).dequantized() - values).T).mean())

    alone, polished, in_turns = error(0), error(1), error(4)
    assert polished < 0.99 * alone
    assert in_turns == polished if bits == 8 else in_turns < polished


def test_little_memory_gives_the_same(model_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = fold(lower(load_checkpoint(model_directory)), "q4")
    vocabulary = folded.spec.vocabulary
    assert vocabulary is not None
    batches = batches_of_text(STORIES[:20], vocabulary, (1,), 32, 20)
    reference, rounded = Contender(*FoldedLlama.exact(folded)), Contender.of(round_to_nearest(folded))

    def results() -> tuple[dict[str, Tensor], bytes, Comparison]:
        curvature = Curvature(*FoldedLlama.exact(folded), batches)
        found = {name: curvature[name] for name in folded.matrices}
        name = "w13.0"
        matrix = round_with_curvature(folded.matrices[name], found[name], 4)
        return found, matrix.dequantized().tobytes(), compare(reference, {"it": rounded}, vocabulary, STORIES, 20)["it"]

    at_once, whole, comparison = results()
    monkeypatch.setattr(calibration, "_MOST_LOGITS", 1)
    monkeypatch.setattr(gptq, "_MOST_SPREAD", 1000)
    one_by_one, part_by_part, one_at_a_time = results()
    torch.testing.assert_close(one_by_one, at_once, rtol=1e-3, atol=1e-5)
    assert part_by_part == whole
    for name, value in vars(comparison).items():
        assert vars(one_at_a_time)[name] == pytest.approx(value, rel=1e-4), name


def test_curvature_weighs_inputs_by_what_the_loss_feels(model_directory: Path) -> None:
    folded = fold(lower(load_checkpoint(model_directory)), "q8")
    model, matrices = FoldedLlama.exact(folded)
    assert folded.spec.vocabulary is not None
    batches = batches_of_text(STORIES[:8], folded.spec.vocabulary, (1,), 32, 8)
    curvature = Curvature(model, matrices, batches)
    for name, values in folded.matrices.items():
        hessian = curvature[name]
        assert hessian.shape == (values.shape[1], values.shape[1])
        torch.testing.assert_close(hessian, hessian.T)
        assert float(torch.linalg.eigvalsh(hessian).min()) > -1e-9
        assert float(hessian.diagonal().mean()) == pytest.approx(1.0)
    total, sums = torch.zeros(model.config.dim, model.config.dim), 0.0
    for tokens in batches:
        vectors, classifier = model.before_logits(tokens[:, :-1], matrices)
        odds = (vectors @ matrices[classifier].T).softmax(-1)
        felt = (odds - torch.nn.functional.one_hot(tokens[:, 1:], odds.shape[-1])).square().mean(-1)
        total = total + torch.einsum("bt,bti,btj->ij", felt, vectors, vectors)
        sums += float((felt[..., None] * vectors.square()).sum())
    torch.testing.assert_close(curvature[classifier].float(), total / sums * model.config.dim, rtol=1e-3, atol=1e-4)


def test_the_standard_error_is_that_of_leaving_out_one_document_at_a_time() -> None:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(20, 400, (150,), generator=generator).double()
    extra = tokens * (0.03 + 0.01 * torch.randn(150, generator=generator).double())
    sums = torch.stack([tokens, 1.3 * tokens, extra, 0.03 * tokens, 0.9 * tokens], dim=-1)
    ratios = [float(torch.exp((extra.sum() - extra[i]) / (tokens.sum() - tokens[i]))) for i in range(150)]
    found = summary(sums)
    assert found.ratio_to_f32 == pytest.approx(float(torch.exp(extra.sum() / tokens.sum())))
    assert found.standard_error == pytest.approx(np.std(ratios) * 149**0.5, rel=0.02)
    alone = summary(sums[:1])
    assert alone.standard_error is None
    assert "±" in str(found) and "±" not in str(alone)


def test_a_model_compared_with_itself_loses_nothing(model_directory: Path) -> None:
    folded = fold(lower(load_checkpoint(model_directory)), "q8")
    reference = Contender(*FoldedLlama.exact(folded))
    assert folded.spec.vocabulary is not None
    row = compare(reference, {"it": reference}, folded.spec.vocabulary, STORIES, 20)["it"]
    assert (row.documents, row.ratio_to_f32, row.standard_error, row.kl, row.top1) == (20, 1.0, 0.0, 0.0, 1.0)


# ---------------------------------------------------------------------------------------------------------- commands


def test_quantising_writes_a_model_and_says_what_it_costs(model_directory: Path, text: Path, tmp_path: Path) -> None:
    answers = {
        (scheme, method): call(
            quantize, model_directory, "--scheme", scheme, "--method", method, "--data", text,
            "-o", tmp_path / f"{scheme}{method}", *(["--calibrate", text] if method == "gptq" else []),
        )
        for scheme in ("q8", "q4")
        for method in ("rtn", "gptq")
    }  # fmt: skip
    for (scheme, method), answer in answers.items():
        assert load_quantized(tmp_path / f"{scheme}{method}").scheme == scheme
        float32, integers = answer["schemes"]["f32"], answer["schemes"][scheme]
        assert integers["flash_bytes"] < float32["flash_bytes"]
        assert integers["ram_bytes"] < float32["ram_bytes"]
        assert (float32["ratio_to_f32"], float32["kl"]) == (1.0, 0.0)
    kl = {key: answer["schemes"][key[0]]["kl"] for key, answer in answers.items()}
    assert kl["q4", "gptq"] < kl["q4", "rtn"]
    assert kl["q8", "gptq"] < kl["q4", "gptq"]


def test_what_a_quantised_model_costs_is_told_by_eval(model_directory: Path, text: Path, tmp_path: Path) -> None:
    call(quantize, model_directory, "--scheme", "q8", "--method", "rtn", "-o", tmp_path / "q8")
    at_once = call(evaluate, model_directory, "--scheme", "q8", "--data", text, "--documents", 20)
    kept = call(evaluate, tmp_path / "q8", "--reference", model_directory, "--data", text, "--documents", 20)
    assert at_once == kept
    assert kept["documents"] == 20
    assert 0.9 < kept["ratio_to_f32"] < 1.1
    assert 0 < kept["kl"] < 0.1
    with pytest.raises(LlgenError, match="holds only integers"):
        call(evaluate, tmp_path / "q8", "--data", text)
    with pytest.raises(UsageError, match="--kv q8 is for quantised models"):
        call(evaluate, model_directory, "--kv", "q8", "--data", text)
    with pytest.raises(UsageError, match="--reference is for quantised models"):
        call(evaluate, model_directory, "--reference", model_directory, "--data", text)


def test_a_run_is_scored_in_integers_too(model_directory: Path, text: Path) -> None:
    options = ["--scheme", "q4", "--data", text, "--documents", 20]
    assert call(evaluate, model_directory.parent / "run", *options) == call(evaluate, model_directory, *options)


def test_distilling_comes_nearer_than_gptq(model_directory: Path, text: Path, tmp_path: Path) -> None:
    loss = {}
    for method in ("gptq", "distill"):
        options = ["--scheme", "q4", "--method", method, "--calibrate", text, "--data", text]
        options += ["--iterations", 60, "--teacher-weight", 1] if method == "distill" else []
        answer = call(quantize, model_directory, *options, "-o", tmp_path / method)
        loss[method] = answer["schemes"]["q4"]["kl"]
    assert loss["distill"] < 0.9 * loss["gptq"]


def test_the_text_is_learned_as_far_as_the_teacher_leaves_it(model_directory: Path, text: Path, tmp_path: Path) -> None:
    found = {}
    for weight in (0.0, 1.0):
        options = ["--scheme", "q4", "--method", "distill", "--calibrate", text, "--data", text, "--iterations", 60]
        answer = call(quantize, model_directory, *options, "--teacher-weight", weight, "-o", tmp_path / str(weight))
        found[weight] = answer["schemes"]["q4"]
    assert found[0.0]["nats_per_token"] < found[1.0]["nats_per_token"]
    assert found[0.0]["kl"] > found[1.0]["kl"]


def test_bits_are_given_to_those_that_suffer_most(text: Path, tmp_path: Path) -> None:
    wide = {"model": {"dim": 64, "hidden_dim": 96}}  # with rows shorter than a group, four bits save nothing
    train(tmp_path / "run", tiny_config(wide, {"schedule": {"iterations": 30}}))
    model_directory = export_run(tmp_path / "run", tmp_path / "model")
    options = ["--scheme", "q4", "--calibrate", text, "--data", text, "--target", "cortex_m7"]
    four = call(quantize, model_directory, *options, "-o", tmp_path / "four")
    least = four["schemes"]["q4"]["flash_bytes"]
    mixed = call(
        quantize, model_directory, *options, "--bits", "auto", "--flash", least + 2500, "-o", tmp_path / "mixed"
    )
    assert least < mixed["schemes"]["q4"]["flash_bytes"] <= least + 2500
    assert mixed["schemes"]["q4"]["kl"] < four["schemes"]["q4"]["kl"]
    assert four["bits_a_weight"] < mixed["bits_a_weight"] < 9
    bits = {matrix.bits for matrix in load_quantized(tmp_path / "mixed").matrices.values()}
    assert len(bits) > 1
    with pytest.raises(LlgenError, match=r"bytes of flash with 4 bits .* --flash allows 1,024") as caught:
        call(quantize, model_directory, *options, "--bits", "auto", "--flash", "1K", "-o", tmp_path / "small")
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT


def test_bits_on_average_are_kept_and_distilling_goes_on_from_them(text: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", tiny_config({"model": {"dim": 64, "hidden_dim": 96}}, {"schedule": {"iterations": 30}}))
    model_directory = export_run(tmp_path / "run", tmp_path / "model")
    options = ["--scheme", "q4", "--calibrate", text, "--data", text, "--bits", "5.0"]
    losses = {}
    for method, more in (("gptq", []), ("distill", ["--iterations", 40, "--teacher-weight", 1])):
        answer = call(quantize, model_directory, *options, "--method", method, *more, "-o", tmp_path / method)
        assert 4.8 < answer["bits_a_weight"] <= 5.0
        assert len(set(answer["bits"].values())) > 1
        losses[method] = answer["schemes"]["q4"]["kl"], answer["bits"]
    assert losses["gptq"][1] == losses["distill"][1]
    assert losses["distill"][0] < losses["gptq"][0]
    with pytest.raises(LlgenError, match=r"bits per weight with 4 bits .* --bits allows 4\.1") as caught:
        call(quantize, model_directory, *options[:-1], "4.1", "-o", tmp_path / "small")
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT


def test_allocation_saves_enough_and_no_more_than_needed() -> None:
    losses = {("a", 4): 1.0, ("a", 6): 0.02, ("b", 4): 0.1, ("c", 4): 0.5, ("c", 5): 0.2}
    savings = {("a", 4): 100, ("a", 6): 50, ("b", 4): 10, ("c", 4): 100, ("c", 5): 75}
    assert allocate(losses, savings, 0) == {}
    assert allocate(losses, savings, 50) == {"a": 6}
    assert allocate(losses, savings, 75) == {"c": 5}
    assert allocate(losses, savings, 76) == {"a": 6, "c": 5}
    assert allocate(losses, savings, 126) == {"a": 6, "b": 4, "c": 5}
    assert allocate(losses, savings, 150) == {"a": 6, "c": 4}
    assert allocate(losses, savings, 210) == {"a": 4, "b": 4, "c": 4}
    with pytest.raises(ValueError, match="210 can be saved"):
        allocate(losses, savings, 211)


@given(
    st.lists(
        st.dictionaries(st.sampled_from([4, 5, 6]), st.tuples(st.floats(0.0, 1.0), st.integers(1, 3000)), min_size=1),
        min_size=1,
        max_size=5,
    ),
    st.floats(0.0, 1.0),
)
def test_no_other_allocation_loses_less(matrices: list[dict[int, tuple[float, int]]], share: float) -> None:
    options = {str(index): each for index, each in enumerate(matrices)}
    losses = {(name, bits): loss for name, each in options.items() for bits, (loss, _) in each.items()}
    savings = {(name, bits): size for name, each in options.items() for bits, (_, size) in each.items()}
    most = sum(max(size for _, size in each.values()) for each in matrices)
    excess = int(share * most)
    chosen = allocate(losses, savings, excess)
    assert sum(savings[variant] for variant in chosen.items()) >= excess
    # Savings are rounded down to whole units, so a matrix may seem to save a little less than it does.
    counted = excess + len(options) * max(1, excess // 4000)
    choices = product(*([(0.0, 0), *each.values()] for each in matrices))
    others = [sum(loss for loss, _ in choice) for choice in choices if sum(size for _, size in choice) >= counted]
    worst = sum(max(loss for loss, _ in each.values()) for each in matrices)
    assert sum(losses[variant] for variant in chosen.items()) <= min(others, default=worst) + 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "gptq", "--iterations", 9], "--method gptq has no --iterations"),
        (["--teacher-weight", 0.5], "--method gptq has no --teacher-weight"),
        (["--method", "distill", "--teacher-weight", 0.5], "--teacher-weight needs --calibrate"),
        (["--documents", 9], "--documents needs --calibrate"),
        (["--written", 0], "--written 0 leaves no text"),
        (["--written", 513], "--written is 513; GPTQ uses at most 512 texts"),
        (["--field", "story"], "--field and --separator need --data or --calibrate"),
        (["--method", "rtn", "--written", 9], "--method rtn uses no calibration text"),
        (["--bits", "auto"], "--bits auto and --flash SIZE go together"),
        (["--flash", "20K"], "--bits auto and --flash SIZE go together"),
        (["--bits", "5.0", "--flash", "20K"], "--bits auto and --flash SIZE go together"),
        (["--bits", "3"], "--bits is '3'"),
        (["--bits", "some"], "--bits is 'some'"),
        (["--bits", "auto", "--flash", "-3K"], "--flash is '-3K'"),
        (["--bits", "auto", "--flash", "infK"], "--flash is 'infK'"),
        (["--bits", "5", "--scheme", "q8"], "--bits chooses 8, 6, 5 or 4 bits"),
        (["--calibrate", "nowhere.txt"], "--calibrate: 'nowhere.txt' does not exist"),
        (["--data", "nowhere.txt"], "--data: 'nowhere.txt' does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(
    model_directory: Path, tmp_path: Path, options: list[object], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        call(quantize, model_directory, "--scheme", "q4", *options, "-o", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_refused_before_any_work(model_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LlgenError, match=r"holds 'notes\.txt'"):
        call(quantize, model_directory, "--scheme", "q4", "--method", "distill", "-o", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_model_does_not_take_the_place_of_what_it_was_made_of(model_directory: Path) -> None:
    before = sorted(path.name for path in model_directory.iterdir())
    same = model_directory.parent / "run" / ".." / model_directory.name
    with pytest.raises(UsageError, match="whose float32 weights would be lost"):
        call(quantize, model_directory, "--scheme", "q8", "--method", "rtn", "-o", same)
    assert sorted(path.name for path in model_directory.iterdir()) == before


@pytest.mark.parametrize("option", ["--calibrate", "--data"])
def test_a_text_that_holds_none_is_refused_before_any_work(model_directory: Path, tmp_path: Path, option: str) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n<|endoftext|>\n\n", encoding="utf-8")
    with pytest.raises(LlgenError, match=f"{option}: .*empty.txt' holds no text"):
        call(quantize, model_directory, "--scheme", "q8", option, empty, "-o", tmp_path / "q8")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


def test_an_unfinished_distillation_outlives_another_result(model_directory: Path, tmp_path: Path) -> None:
    begun = tmp_path / ".out.unfinished" / "state.pt"
    begun.parent.mkdir()
    begun.write_bytes(b"hours of work")
    call(quantize, model_directory, "--scheme", "q8", "--method", "rtn", "-o", tmp_path / "out")
    assert begun.read_bytes() == b"hours of work"


def test_distilling_into_the_folder_at_hand(
    model_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    options = ["--scheme", "q4", "--method", "distill", "--iterations", 2, "--written", 4]
    call(quantize, model_directory, *options, "-o", ".")
    assert load_quantized(here).scheme == "q4"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_data_free_calibration_needs_no_text(model_directory: Path, tmp_path: Path) -> None:
    call(quantize, model_directory, "--scheme", "q4", "--written", 8, "-o", tmp_path / "q4")
    assert load_quantized(tmp_path / "q4").scheme == "q4"


def test_a_text_for_rounding_to_nearest_is_refused(model_directory: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match="--method rtn uses no calibration text"):
        call(quantize, model_directory, "--scheme", "q8", "--method", "rtn", "--calibrate", text, "-o", tmp_path / "q8")


def test_texts_in_a_field_of_json_lines(model_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "stories.jsonl"
    path.write_text("\n".join(json.dumps({"story": story}) for story in STORIES), encoding="utf-8")
    options = ["--scheme", "q8", "--calibrate", path, "--data", path, "--documents", 16, "--data-documents", 9]
    for option in ("--calibrate", "--data"):
        with pytest.raises(LlgenError, match="has no field 'text'"):
            call(quantize, model_directory, "--scheme", "q8", option, path, "-o", tmp_path / "q8")
    assert not (tmp_path / "q8").exists()
    answer = call(quantize, model_directory, *options, "--field", "story", "-o", tmp_path / "q8")
    assert answer["schemes"]["q8"]["documents"] == 9
