"""How generated C begins and ends a text, for models with and without a token that begins one."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from generated import Library, SamplerStruct, write_files
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.plan.extras import Extras
from llgen.codegen.plan.prompt import bake
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import Reference
from llgen.codegen.render.pipeline import generate
from llgen.targets.schema import load_target

VOCABULARY = trained_vocabulary()
PROMPT = "the fox"
TOKENS = VOCABULARY.encode(PROMPT)

BEGINNINGS = {"BOS 1": 1, "BOS 7": 7, "no BOS": None}
ENDS = {"two": (2, 1), "BOS alone": (1,), "four": (2, 1, 300, 301), "none": ()}


def talking(bos: int | None, ends: tuple[int, ...], name: str = "talk") -> Checkpoint:
    config = replace(ODD, vocab_size=len(VOCABULARY), max_seq_len=40, bos_id=bos, end_ids=ends)
    return random_checkpoint(config, name=name, vocabulary=VOCABULARY)


def written(checkpoint: Checkpoint, tokens: list[int], count: int, *, ignore_end: bool = False) -> list[int]:
    """What a conversation of these tokens goes on with, by the reference, up to an end token."""
    reference = Reference(quantized(checkpoint))
    logits, found = reference.feed(tokens)[-1], []
    while len(found) < count:
        token = int(np.argmax(logits))
        if token in checkpoint.config.end_ids and not ignore_end:
            break
        found.append(token)
        logits = reference.feed([token])[0]
    return found


@pytest.fixture(scope="module", params=[(bos, ends) for bos in BEGINNINGS for ends in ENDS], ids=" and ends: ".join)
def library(request, tmp_path_factory):
    checkpoint = talking(BEGINNINGS[request.param[0]], ENDS[request.param[1]])
    return Library(checkpoint, tmp_path_factory.mktemp("generate")), checkpoint


@pytest.mark.parametrize("prompt", [None, "", "  ", PROMPT, "a"])
def test_a_conversation_begins_with_bos_where_there_is_one_and_never_with_nothing(library, prompt):
    library, checkpoint = library
    text = VOCABULARY.encode(prompt or "")
    begins = [*checkpoint.config.lead, *text] or [checkpoint.config.start_id]
    library.reset()
    count, pieces = library.generate(None if prompt is None else prompt.encode(), 12)
    expected = written(checkpoint, begins, 12)
    assert library.tokens() == begins + expected
    assert count == len(expected)
    if text:
        assert b"".join(pieces).decode() == VOCABULARY.decode(text + expected)[len(VOCABULARY.decode(text)) :]
    else:
        assert b"".join(pieces).decode() == VOCABULARY.decode(expected)


def test_a_later_prompt_stands_alone(library):
    library, _ = library
    library.reset()
    library.generate(PROMPT.encode(), 3)
    before = library.tokens()
    library.generate(PROMPT.encode(), 0)
    assert library.tokens() == before + TOKENS
    library.generate(None, 0)
    library.generate(b"  ", 0)
    assert library.tokens() == before + TOKENS


def test_each_end_token_ends_a_text_and_ignore_end_goes_on(library):
    library, checkpoint = library
    vocab = checkpoint.config.vocab_size
    for token in (0, 1, 2, 7, 300, 301, 302):
        library.reset()
        library.prefill([5, 6])
        logits = np.zeros(vocab, np.float32)
        logits[token] = 9.0
        library.set_logits(logits)
        count, _ = library.generate(None, 1)
        assert count == (0 if token in checkpoint.config.end_ids else 1)
        library.set_logits(logits)
        count, _ = library.generate(None, 1, SamplerStruct(ignore_end=1))
        assert count == 1


def test_a_prompt_fills_the_context_to_the_last_position(library):
    library, checkpoint = library
    room = checkpoint.config.max_seq_len - len(checkpoint.config.lead)
    text = "1" * (room - 1)  # and the space in front
    assert len(VOCABULARY.encode(text)) <= room
    for more in range(room):
        tokens = VOCABULARY.encode(text + "1" * more)
        library.reset()
        status, _ = library.generate((text + "1" * more).encode(), 0)
        assert status == (0 if len(tokens) <= room else -3)
        assert library.tokens() == ([*checkpoint.config.lead, *tokens] if status == 0 else [])


@pytest.mark.parametrize("bos", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_baked_prompt_has_bos_in_front_where_there_is_one(bos, tmp_path):
    checkpoint = talking(bos, (2, 300))
    baked = [*checkpoint.config.lead, *TOKENS]
    library = Library(checkpoint, tmp_path, extras=Extras(prompt=bake(quantized(checkpoint), baked)))
    library.generate(None, 8)
    assert library.tokens() == baked + written(checkpoint, baked, 8)


@pytest.mark.parametrize(("bos", "ends"), [(1, (2, 1)), (7, ()), (None, (2, 1, 300)), (None, ())])
@pytest.mark.parametrize("has_tokenizer", [True, False])
def test_no_warning_and_the_program_does_as_the_library(has_tokenizer, bos, ends, tmp_path):
    checkpoint = talking(bos, ends)
    checkpoint = checkpoint if has_tokenizer else replace(checkpoint, vocabulary=None)
    generation = generate(checkpoint, load_target("generic"))
    write_files(generation, tmp_path)
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror"]
    gcc = shutil.which("gcc")
    assert gcc is not None
    subprocess.run(
        [gcc, *flags, "-ffp-contract=off", "-o", "run", *generation.sources, "-lm"], cwd=tmp_path, check=True
    )

    def verbose(*arguments: str) -> list[int]:
        done = subprocess.run([tmp_path / "run", "--verbose", "-n", "16", *arguments], capture_output=True, check=True)
        lines = dict(line.partition(" ")[::2] for line in done.stderr.decode().splitlines())
        return [int(token) for name in ("prompt_tokens", "tokens") for token in lines.get(name, "").split()]

    begin = [checkpoint.config.start_id]
    assert verbose() == begin + written(checkpoint, begin, 15)
    assert verbose("--tokens", "5,6") == [5, 6, *written(checkpoint, [5, 6], 14)]
    if has_tokenizer:
        begin = [*checkpoint.config.lead, *TOKENS]
        assert verbose(PROMPT) == begin + written(checkpoint, begin, 16 - len(begin))
        begin = [checkpoint.config.start_id]
        assert verbose(" ") == begin + written(checkpoint, begin, 15)


def test_usual_models_have_the_constants_they_always_had(tmp_path):
    def constants(bos, ends):
        header = generate(talking(bos, ends), load_target("generic")).files["talk.h"].decode()
        return dict(re.findall(r"^#define TALK_(BOS|START|EOS\w*) +(\d+) ", header, re.MULTILINE))

    assert constants(1, (2, 1)) == {"BOS": "1", "EOS": "2"}
    assert constants(None, (300, 2)) == {"START": "300", "EOS": "300", "EOS_2": "2"}
