"""Speculation: tokens are evaluated ahead where text repeats itself, and no bit of anything depends on it."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from generated import Library, SamplerStruct, write_files
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.build.folder import build_cached
from llgen.codegen.compile.toolchain import compile_objects
from llgen.codegen.formats.llama2c.read import read_llama2c
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.plan.extras import Extras
from llgen.codegen.plan.fit import require_fit
from llgen.codegen.plan.prompt import bake
from llgen.codegen.plan.speculation import LEAST_MATCH, MOST_DRAFTS, MOST_MATCH
from llgen.codegen.plan.tuning import Values
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.emulator import missing_emulator
from llgen.codegen.run.runner import run_story
from llgen.errors import UsageError
from llgen.targets.schema import load_target

NUMBERS = [("f32", "f32"), ("q8", "f32"), ("q8", "q8"), ("q4", "q8")]
TARGETS = ["generic", "x86_64_v3", "x86_64_avx512vnni"]
CONTEXT = ODD.max_seq_len


class Speculating(Library):
    """A library that evaluates up to seven tokens ahead."""

    def __init__(self, source, folder: Path, target: str = "x86_64_v3", **options) -> None:  # type: ignore[no-untyped-def]
        super().__init__(source, folder, target, extras=Extras(drafts=7, prompt=options.pop("prompt", None)), **options)
        assert self.speculate(7) == 0

    def reset(self) -> None:
        """Forgets all, and evaluates ahead again."""
        super().reset()
        assert self.speculated() == (0, 0)
        assert self.speculate(7) == 0

    def speculate(self, drafts: int) -> int:
        return int(self.function("set_speculation")(self.state, ctypes.c_uint32(drafts)))

    def speculated(self) -> tuple[int, int]:
        drafted, accepted = ctypes.c_uint32(), ctypes.c_uint32()
        self.function("speculated")(self.state, ctypes.byref(drafted), ctypes.byref(accepted))
        return drafted.value, accepted.value


def talking(**changes) -> Checkpoint:
    vocabulary = trained_vocabulary()
    config = ODD.__class__(**{**ODD.__dict__, "vocab_size": len(vocabulary), "tied": True, **changes})
    return random_checkpoint(config, name="fox", vocabulary=vocabulary)


# -------------------------------------------------------------------------------------------------------------- bits


@pytest.fixture(scope="module", params=[(*n, t) for n in NUMBERS for t in TARGETS], ids="-".join)
def pair(request, tmp_path_factory):
    """A model that speculates, and the same without."""
    scheme, kv, name = request.param
    if missing_emulator(load_target(name)):
        pytest.skip(missing_emulator(load_target(name)))
    model, folder = quantized(random_checkpoint(), scheme, kv), tmp_path_factory.mktemp("speculation")
    return Speculating(model, folder / "ahead", name), Library(model, folder / "plain", name)


# Few tokens, so that they repeat; now and then several at once, and another number of tokens ahead.
_TOKENS = st.lists(st.sampled_from([3, 4, 5]), min_size=1, max_size=8)
_STEPS = st.lists(st.one_of(_TOKENS, _TOKENS.map(tuple), st.integers(0, 7)), max_size=20)


@settings(max_examples=60)
@given(_STEPS)
def test_every_logit_is_that_of_stepping(pair, steps):
    ahead, plain = pair
    for library in pair:
        library.reset()
    ahead.speculate(7)
    for step in steps:
        if isinstance(step, int):
            assert ahead.speculate(step) == 0
        elif isinstance(step, tuple):  # at once
            assert ahead.prefill(list(step)) == plain.prefill(list(step))
        else:
            for token in step:
                assert ahead.eval(token) == plain.eval(token)
                assert ahead.logits().tobytes() == plain.logits().tobytes()
        assert ahead.tokens() == plain.tokens()
        if plain.tokens():
            assert ahead.logits().tobytes() == plain.logits().tobytes()


def test_up_to_the_end_of_the_context_and_no_further(pair):
    ahead, plain = pair
    for library in pair:
        library.reset()
        for at in range(CONTEXT):
            assert library.eval([7, 8, 9, 10][at % 4]) == 0
        assert library.eval(7) == -3
        assert library.eval(-1) == -3  # the context is full, whatever comes
    ahead.speculate(7)
    assert ahead.logits().tobytes() == plain.logits().tobytes()
    assert ahead.tokens() == plain.tokens()


# ------------------------------------------------------------------------------------------------- what is speculated


def look_up(tokens: Sequence[int]) -> int:
    """Where the longest end of `tokens`, of LEAST_MATCH to MOST_MATCH, stood before, and last; 0: nowhere."""
    for length in range(MOST_MATCH, LEAST_MATCH - 1, -1):
        for end in range(len(tokens) - 1, length - 1, -1):
            if list(tokens[end - length : end]) == list(tokens[-length:]):
                return end
    return 0


def expected_counts(text: Sequence[int], most: int) -> tuple[int, int]:
    """Drafted and accepted tokens of a text that is evaluated token by token."""
    drafted = accepted = at = 0
    reach, drafts, right = 1, [], 0
    while at < len(text):
        if right < len(drafts):
            reach = right + 1
        elif drafts:
            reach *= 2
        reach = min(reach, most)
        known = list(text[: at + 1])
        found = look_up(known)
        while found and len(known) < min(at + 1 + reach, CONTEXT):
            known.append(known[found + len(known) - at - 1])
        drafts = known[at + 1 :]
        drafted += len(drafts)
        at += 1
        right = 0
        while right < len(drafts) and at < len(text) and text[at] == drafts[right]:
            right, at = right + 1, at + 1
        accepted += right
    return drafted, accepted


@settings(max_examples=60)
@given(st.lists(st.sampled_from([3, 4, 5]), max_size=CONTEXT), st.integers(1, 7))
def test_what_followed_before_is_expected(counting, text, most):
    counting.reset()
    counting.speculate(most)
    for token in text:
        assert counting.eval(token) == 0
    assert counting.speculated() == expected_counts(text, most)


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    return Speculating(random_checkpoint(), tmp_path_factory.mktemp("counting"), "generic")


def test_a_repetition_longer_than_what_it_repeats(counting):
    counting.reset()
    counting.speculate(7)
    for _ in range(CONTEXT):
        counting.eval(9)
    drafted, accepted = counting.speculated()
    assert accepted == drafted > 50
    counting.reset()
    assert counting.speculated() == (0, 0)
    counting.speculate(0)
    for _ in range(20):
        counting.eval(9)
    assert counting.speculated() == (0, 0)


def test_misuse_is_answered(counting):
    counting.reset()
    assert counting.speculate(8) == -1
    assert counting.function("set_speculation")(None, ctypes.c_uint32(1)) == -1
    fresh = ctypes.create_string_buffer(counting.generation.memory.ram_bytes)
    assert counting.function("set_speculation")(fresh, ctypes.c_uint32(1)) == -5
    assert counting.function("eval")(fresh, ctypes.c_int32(1)) == -5
    assert counting.function("eval")(None, ctypes.c_int32(1)) == -1
    counting.function("speculated")(None, None, None)
    counting.speculate(7)
    for wrong in (-1, ODD.vocab_size):
        assert counting.eval(wrong) == -2
    assert counting.tokens() == []


def test_a_fork_takes_along_what_is_ahead(counting):
    counting.reset()
    counting.speculate(7)
    for token in [1, 2, 3] * 6:
        counting.eval(token)
    kept = counting.state.raw
    assert counting.eval(1) == 0
    expected = counting.logits()
    counting.state[:] = kept
    assert counting.eval(1) == 0
    assert counting.logits().tobytes() == expected.tobytes()
    counting.state[:] = kept
    assert counting.eval(2) == 0  # not what was expected
    assert counting.logits().tobytes() != expected.tobytes()


# -------------------------------------------------------------------------------------------------------------- text


@pytest.fixture(scope="module", params=["f32", "q8"])
def writers(request, tmp_path_factory):
    model, folder = quantized(talking(), request.param), tmp_path_factory.mktemp("writers")
    return Speculating(model, folder / "ahead"), Library(model, folder / "plain")


@pytest.mark.parametrize("prompt", [None, b"the fox, the fox, the fox, the", b" "])
@pytest.mark.parametrize("temperature", [0.0, 0.2, 0.7, 1.5])
@pytest.mark.parametrize("seed", [1, 2**63])
def test_the_text_is_the_same(writers, prompt, temperature, seed):
    found = []
    for library in writers:
        library.reset()
        how = SamplerStruct(temperature=temperature, top_p=0.9, top_k=40, seed=seed, ignore_end=1)
        texts = [library.generate(prompt, 30, how), library.generate(b" and the fox", 100, how)]
        found.append((texts, library.tokens(), library.logits().tobytes(), how.seed))
        assert len(library.tokens()) == CONTEXT
    assert found[0] == found[1]


def test_a_stop_among_the_tokens_ahead(tmp_path):
    """The end token is one that greedy text has written again and again."""
    free = Library(talking(), tmp_path / "free")
    free.generate(None, 60, SamplerStruct(ignore_end=1))
    text = free.tokens()
    written, stop = text[:48], text[50]
    assert stop in written, "this model's greedy text was to repeat itself"
    model = quantized(talking(end_ids=(stop, 1)))
    found = []
    for library in (Speculating(model, tmp_path / "ahead"), Library(model, tmp_path / "plain")):
        for token in written:
            assert library.eval(token) == 0
        status = library.generate(None, 20)
        found.append((status, library.tokens(), library.logits().tobytes()))
        if isinstance(library, Speculating):
            assert library.speculated()[1] > 20
    assert found[0] == found[1]
    assert found[0][1] == text[: text.index(stop, 48)]


def test_a_callback_may_end_it_anywhere(writers):
    for stop in (1, 2, 9, 20):
        found = []
        for library in writers:
            library.reset()
            answers = [library.generate(b"the fox, the fox, the", 40, stop_after=stop), library.generate(None, 3)]
            found.append((answers, library.tokens(), library.logits().tobytes()))
        assert found[0] == found[1]


def test_behind_a_baked_prompt(tmp_path):
    model = quantized(talking(), "q8")
    prompt = bake(model, [model.start_id, *model.vocabulary.encode("the fox, the fox, the fox")])
    found = []
    for library in (
        Speculating(model, tmp_path / "ahead", prompt=prompt),
        Library(model, tmp_path / "plain", "x86_64_v3", extras=Extras(prompt=prompt)),
    ):
        found.append((library.generate(None, 40), library.tokens()))
    assert found[0] == found[1]


@pytest.mark.parametrize("scheme", ["f32", "q8"])
def test_stories_are_the_same_and_come_sooner(shared, scheme):
    folder = shared / "models" / "stories260K"
    vocabulary = SentencePiece.from_file(folder / "tok512.model")
    model = quantized(read_llama2c(folder / "stories260K.bin", vocabulary), scheme)
    built = build_cached(model, load_target("host"), extras=Extras(drafts=8))
    for options in (["-t", "0"], ["-t", "0.8", "-s", "3"], ["-t", "1.2", "-p", "0.9", "-s", "4"]):
        words = [*options, "-n", "300", "--ignore-eos"]
        plain = run_story(built.artifact, words, b"Once", stream=False)
        ahead = run_story(built.artifact, [*words, "--speculate", "8"], b"Once", stream=False)
        assert (ahead.text, ahead.tokens) == (plain.text, plain.tokens)
        assert (plain.drafted, plain.accepted) == (0, 0)
        assert 0 < ahead.accepted < ahead.drafted
    assert len(ahead.tokens) > 250


# ---------------------------------------------------------------------------------------------------------- planning


def test_what_is_not_asked_for_takes_nothing():
    for name in ("x86_64_v3", "cortex_m4f"):
        generation = generate(random_checkpoint(), load_target(name))
        assert not any(b"specul" in content for content in generation.files.values())
        assert generation.memory.drafts == 0


@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
@pytest.mark.parametrize("name", ["x86_64_v3", "cortex_m4f"])
def test_ram_is_counted(name, scheme, kv):
    model, target = quantized(random_checkpoint(), scheme, kv), load_target(name)
    plans = [generate(model, target, prefill=20, extras=Extras(drafts=drafts)).memory for drafts in (0, 1, 2, 3)]
    row = 4 * (plans[0].vocab_padded + 1)  # of logits, and the token; whole structs are multiples of eight bytes
    assert plans[1].ram_bytes - plans[0].ram_bytes >= 2 * row - 4 * plans[0].vocab_padded + 24
    assert all(row - 4 <= more.ram_bytes - less.ram_bytes <= row + 8 for less, more in pairwise(plans[1:]))


def test_a_microcontroller_takes_blocks_for_it():
    target = load_target("cortex_m4f")
    for drafts, positions in ((0, 1), (1, 2), (5, 6)):
        assert generate(random_checkpoint(), target, extras=Extras(drafts=drafts)).memory.positions == positions
    host = generate(random_checkpoint(), load_target("x86_64"), extras=Extras(drafts=5))
    assert host.memory.positions == 64


def test_limits():
    model, target = quantized(random_checkpoint()), load_target("generic")
    for drafts, prefill, message in (
        (MOST_DRAFTS + 1, None, f"0 to {MOST_DRAFTS}"),
        (-1, None, f"0 to {MOST_DRAFTS}"),
        (8, 8, "makes blocks of 8"),
        (1, 1, "makes blocks of 1"),
    ):
        with pytest.raises(UsageError, match=message):
            generate(model, target, prefill=prefill, extras=Extras(drafts=drafts))
    with pytest.raises(UsageError, match="the context has 9"):
        generate(model.for_context(9), target, extras=Extras(drafts=9))
    assert generate(model.for_context(9), target, extras=Extras(drafts=8)).memory.positions == 9


def test_a_plan_that_does_not_fit_is_refused_with_what_would():
    target = load_target("cortex_m4f")
    model = quantized(random_checkpoint())
    plain, ahead = (generate(model, target, extras=Extras(drafts=drafts)) for drafts in (0, 31))
    room = plain.memory.ram_bytes + target.firmware.stack_bytes + 8192
    regions = tuple(
        region.model_copy(update={"length": room}) if "state" in region.holds else region
        for region in target.firmware.memory
    )
    target = target.model_copy(update={"firmware": target.firmware.model_copy(update={"memory": regions})})
    require_fit(model, plain.kernels, plain.memory, target)
    with pytest.raises(Exception, match="bytes of RAM") as caught:
        require_fit(model, ahead.kernels, ahead.memory, target)
    assert "smaller --speculate" in caught.value.hint


# ------------------------------------------------------------------------------------------------------------ compiled


@pytest.mark.parametrize("compiler", [["gcc"], None], ids=["gcc", "zig"])
@pytest.mark.parametrize(("scheme", "name"), [("f32", "generic"), ("q8", "x86_64_avx512vnni"), ("q4", "x86_64_v3")])
def test_no_warning(scheme, name, compiler, tmp_path):
    generation = generate(quantized(talking(), scheme), load_target(name), extras=Extras(drafts=3))
    write_files(generation, tmp_path)
    compile_objects(tmp_path, generation.sources, load_target(name), tmp_path, "-O2", compiler)


HARNESS = """
#include "fox.h"

static struct fox state, plain;
static int ignore(const char *text, size_t length, void *user) { (void)text, (void)length, (void)user; return 0; }

int main(void)
{
    for (uint32_t drafts = 0; drafts <= FOX_DRAFTS; drafts++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            fox_sampler how = { .temperature = (float)seed * 0.5f, .ignore_end = 1, .seed = seed }, same = how;
            fox_reset(&state);
            fox_reset(&plain);
            fox_set_speculation(&state, drafts);
            size_t count;
            if (fox_generate(&state, "the fox, the fox", 1000, &how, ignore, NULL) !=
                fox_generate(&plain, "the fox, the fox", 1000, &same, ignore, NULL))
                return 1;
            const int32_t *expected = fox_tokens(&plain, &count), *found = fox_tokens(&state, &count);
            for (size_t i = 0; i < count; i++)
                if (found[i] != expected[i])
                    return 2;
            if (count != FOX_CONTEXT)
                return 3;
        }
    return 0;
}
"""


def test_sanitizers_find_nothing(tmp_path):
    generation = generate(talking(), load_target("x86_64"), extras=Extras(drafts=9))
    write_files(generation, tmp_path)
    (tmp_path / "harness.c").write_text(HARNESS)
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, "-o", "harness", "harness.c", *generation.model_sources], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "harness"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reset_forgets_that_tokens_were_evaluated_ahead(tmp_path):
    library = Speculating(random_checkpoint(), tmp_path)
    Library.reset(library)
    for token in [3, 4, 5] * 8:
        assert library.eval(token) == 0
    assert library.speculated() == (0, 0)


def test_on_several_threads(tmp_path):
    task = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
    run_type = ctypes.CFUNCTYPE(None, task, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    run = run_type(lambda work, job, parts, user: [work(job, part) for part in reversed(range(parts))] and None)
    library = Speculating(random_checkpoint(), tmp_path, scheme="q8", tuning=Values(least_parallel=0))
    tokens = [3, 4, 5, 3, 4] * 8
    logits = []
    for threads in (1, 3):
        library.reset()
        assert library.function("set_parallel")(library.state, ctypes.c_uint32(threads), run, None) == 0
        for token in tokens:
            assert library.eval(token) == 0
        logits.append(library.logits())
        assert library.speculated()[1] > 20
    np.testing.assert_array_equal(logits[0].view(np.uint32), logits[1].view(np.uint32))
