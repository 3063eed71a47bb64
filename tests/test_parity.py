"""C equal to Python bit for bit, Python equal to PyTorch within rounding, and the first difference named."""

import json
import subprocess
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from generated import Library, write_files
from models import ODD, random_checkpoint, trained_vocabulary
from processors import require_flags, require_processor

from llgen.codegen.check.parity import closeness, compare_traces, first_divergence, parse_trace
from llgen.codegen.compile.toolchain import Artifact, compile_objects, link
from llgen.codegen.formats.detect import read_any
from llgen.codegen.model.spec import lower
from llgen.codegen.quantise.quantize import quantize
from llgen.codegen.reference.forward import Reference, selftest
from llgen.codegen.render import files as rendering
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.runner import run_selftest
from llgen.codegen.words.flags import NUMERIC_FLAGS
from llgen.errors import LlgenError
from llgen.targets.schema import load_target

SHAPES = {
    "odd": ODD,
    "tied": replace(ODD, tied=True),
    "wide": replace(ODD, dim=100, head_dim=20, n_layers=3, n_kv_heads=6, hidden_dim=33),
    "one position": replace(ODD, max_seq_len=1),
}


@pytest.fixture(scope="module")
def stories(shared):
    folder = shared / "models" / "stories260K"
    return read_any(folder / "stories260K.bin", folder / "tok512.model")


def quantized(checkpoint, context=None):
    return quantize(lower(checkpoint, context), "f32")


def program(checkpoint, folder, target, optimise, compiler=None):
    require_processor(load_target(target))
    generation = generate(checkpoint, load_target(target))
    write_files(generation, folder)
    if compiler is None:
        objects = compile_objects(folder, generation.sources, load_target(target), folder, optimise)
        return link(objects, load_target(target), folder / "program")
    command = [*compiler, optimise, *NUMERIC_FLAGS, "-o", "program", *generation.sources]
    subprocess.run(command, cwd=folder, check=True)
    return Artifact(folder / "program", load_target(target))


@pytest.fixture(scope="module")
def expected(stories):
    return selftest(quantized(stories), 256)


@pytest.mark.parametrize("compiler", [None, ["gcc"]], ids=["zig", "gcc"])
@pytest.mark.parametrize("target", ["generic", "x86_64", "x86_64_v3"])
@pytest.mark.parametrize("optimise", ["-O0", "-O2", "-O3"])
def test_one_digest_of_a_real_model(stories, expected, tmp_path, target, optimise, compiler):
    assert run_selftest(program(stories, tmp_path, target, optimise, compiler), 256) == expected


def test_auto_vectorised_for_avx2_too(stories, expected, tmp_path):
    require_flags("avx2", "fma", "bmi1", "bmi2", "movbe")  # what GCC takes from the name of a Haswell
    found = run_selftest(program(stories, tmp_path, "generic", "-O3", ["gcc", "-march=haswell"]), 256)
    assert found == expected


@pytest.mark.parametrize("flags", [[], ["-march=native"]], ids=["plain", "native"])
def test_gnu_c_gives_the_same_bits_with_contraction_off(stories, expected, tmp_path, flags):
    """Other people's build systems: GNU C in place of C11, and all that the machine has."""
    generation = generate(stories, load_target("host"))
    write_files(generation, tmp_path)
    command = ["gcc", "-O3", *flags, "-ffp-contract=off", "-o", "program", *generation.sources]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert run_selftest(Artifact(tmp_path / "program", load_target("host")), 256) == expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", ["generic", "x86_64", "x86_64_v3"])
def test_one_digest_of_odd_shapes(tmp_path, target, shape):
    checkpoint = random_checkpoint(SHAPES[shape])
    positions = SHAPES[shape].max_seq_len
    trace = selftest(quantized(checkpoint), positions)
    assert run_selftest(program(checkpoint, tmp_path, target, "-O2", ["gcc"]), positions) == trace


def test_feeding_at_once_is_feeding_one_by_one():
    model = quantized(random_checkpoint())
    tokens = [(7 * i) % ODD.vocab_size for i in range(40)]
    together = Reference(model).feed(tokens)
    reference = Reference(model)
    assert together.tobytes() == np.concatenate([reference.feed([token]) for token in tokens]).tobytes()


def test_the_reference_refuses_what_c_refuses():
    reference = Reference(quantized(random_checkpoint()))
    with pytest.raises(LlgenError, match="token 301 is none of the 301"):
        reference.feed([301])
    with pytest.raises(LlgenError, match="76 positions were asked for; the context has 75"):
        reference.feed([1] * 76)


def test_a_shorter_context_gives_the_same_bits(stories):
    assert selftest(quantized(stories, 40), 40) == selftest(quantized(stories), 40)


# -------------------------------------------------------------------------------------- against other implementations


def test_greedy_tokens_and_logits_of_an_independent_implementation(stories, shared, tmp_path_factory):
    folder = shared / "models" / "stories260K"
    runs = json.loads((folder / "greedy.json").read_text())["runs"]
    with np.load(folder / "logits.npz") as recorded:
        logits = dict(recorded)
    library = Library(stories, tmp_path_factory.mktemp("stories"), "host")
    for index, run in enumerate(runs):
        library.reset()
        difference = 0.0
        for position, token in enumerate(run["tokens"][:48]):
            assert library.eval(token) == 0
            difference = max(difference, np.abs(library.logits() - logits[f"logits_{index}"][position]).max())
        assert difference < 1e-4
    for run in runs[:3]:
        prompt = [1, *stories.vocabulary.encode(run["prompt"])] if run["prompt"] else [1]
        assert run["tokens"][: len(prompt)] == prompt
        library.reset()
        library.prefill(prompt)
        tokens = list(prompt)
        while len(tokens) < 200:
            tokens.append(library.sample())
            library.eval(tokens[-1])
        assert tokens == run["tokens"][:200]


@pytest.mark.skipif(not find_spec("torch"), reason="pip install 'llgen[train]'")
@pytest.mark.parametrize("shape", ["odd", "tied", "wide"])
def test_numpy_is_pytorch_on_odd_shapes(shape):
    from llgen.trainer.oracle import torch_logits

    checkpoint = random_checkpoint(SHAPES[shape])
    tokens = [(11 * i) % ODD.vocab_size for i in range(60)]
    close = closeness(Reference(quantized(checkpoint)).feed(tokens), torch_logits(checkpoint, tokens))
    assert close.max_difference < 2e-6
    assert close.kl < 1e-9
    assert close.top1 == 1.0


@pytest.mark.skipif(not find_spec("torch"), reason="pip install 'llgen[train]'")
def test_numpy_is_pytorch_on_a_real_model(stories, expected):
    from llgen.trainer.oracle import torch_logits

    close = closeness(Reference(quantized(stories)).feed(expected.tokens), torch_logits(stories, expected.tokens))
    assert close.max_difference < 2e-6
    assert close.top1 == 1.0


def test_closeness_sees_a_difference():
    logits = np.zeros((2, 4), np.float32)
    logits[:, 1] = 4.0
    other = logits.copy()
    other[1] = [4.0, 0.0, 0.0, 2.0]
    found = closeness(logits, other)
    assert found.max_difference == 1.0
    assert found.top1 == 0.5
    assert found.kl > 0.5


# ---------------------------------------------------------------------------------------------------- first difference


def sabotage(monkeypatch, old, new):
    """Make the generator write one wrong line of C."""
    original = rendering.render

    def render(*arguments):
        files = {path: content.replace(old.encode(), new.encode()) for path, content in original(*arguments).items()}
        assert files != original(*arguments), "the sabotaged line is gone from the templates"
        return files

    monkeypatch.setattr("llgen.codegen.render.pipeline.render", render)


@pytest.mark.parametrize(
    ("old", "new", "layer", "tensor"),
    [
        ("f_sub(f_mul(low, cosine[i])", "f_add(f_mul(low, cosine[i])", 0, "query"),
        ("w_store(gate + i, w_mul(", "w_store(gate + i, w_add(", 0, "swiglu"),
        ("1.0f / total[i]", "1.0f / (total[i] + 1e-6f)", 0, "attention"),
        ("[i] *= odd_final_gain.values[i];", "[i] += odd_final_gain.values[i];", -1, "final_norm"),
    ],
)
def test_the_first_difference_is_named(monkeypatch, old, new, layer, tensor):
    checkpoint = random_checkpoint(SHAPES["tied"])
    sabotage(monkeypatch, old, new)
    where = first_divergence(quantized(checkpoint), load_target("x86_64"), 6)
    assert (where.layer, where.tensor) == (layer, tensor)
    assert tensor in str(where)


def test_no_difference_is_none():
    checkpoint = random_checkpoint(SHAPES["wide"], vocabulary=None)
    assert first_divergence(quantized(checkpoint), load_target("host"), 6) is None


def test_a_broken_trace_is_said():
    with pytest.raises(LlgenError, match="breaks off at byte 0"):
        list(parse_trace(b"embedding -1 36\n\0\0"))
    model = quantized(random_checkpoint())
    with pytest.raises(LlgenError, match="the trace has x of layer 3 where Python has embedding"):
        compare_traces(model, iter([("x", 3, np.zeros(1, np.float32))]), 1)


def test_the_tokenizer_plays_no_part_in_the_bits():
    vocabulary = trained_vocabulary()
    config = ODD.__class__(**{**ODD.__dict__, "vocab_size": len(vocabulary)})
    bare, spoken = (random_checkpoint(config, vocabulary=v) for v in (None, vocabulary))
    assert selftest(quantized(bare), 9) == selftest(quantized(spoken), 9)
    assert bare.sha256 != spoken.sha256
