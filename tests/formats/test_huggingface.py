"""`transformers` itself on what llgen writes: its model's logits, its tokenizer's ids."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from generated import Library, SamplerStruct
from interleaved import assert_close, reference_logits
from models import ODD, SCALINGS, random_checkpoint, trained_vocabulary
from safetensors.numpy import load_file, save, save_file

from llgen.codegen.formats.detect import read_any
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.model.rope import RopeScaling
from llgen.errors import LlgenError

# What transformers warns of, as it is imported and used, is none of ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def transformers_logits(directory: Path, tokens: list[int]) -> npt.NDArray[np.float32]:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(directory, local_files_only=True)
    with torch.no_grad():
        logits: npt.NDArray[np.float32] = model(torch.tensor([tokens])).logits[0].numpy()
    return logits


@pytest.mark.parametrize("changed", [{}, {"tied": True}, {"head_dim": 10, "n_kv_heads": 3, "n_layers": 2}])
def test_computes_the_same_logits(changed: dict[str, int], tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, **changed))  # type: ignore[arg-type]
    save_checkpoint(checkpoint, tmp_path / "model")
    tokens = [1, 5, 80, 300, 7, 2, 33]
    assert_close(reference_logits(checkpoint, tokens), transformers_logits(tmp_path / "model", tokens))


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_computes_the_same_logits_with_a_scaled_rotation(scaling: RopeScaling, tmp_path: Path) -> None:
    """Past the original context, and the directory holds exactly the scaling that it was written with."""
    checkpoint = random_checkpoint(replace(ODD, rope_scaling=scaling))
    save_checkpoint(checkpoint, tmp_path / "model")
    assert load_checkpoint(tmp_path / "model").config == checkpoint.config
    tokens = [(7 * position) % ODD.vocab_size for position in range(ODD.max_seq_len)]
    expected = transformers_logits(tmp_path / "model", tokens)
    ours = reference_logits(checkpoint, tokens)
    assert (np.abs(ours - expected).max(axis=1) <= 1e-4 * np.ptp(expected, axis=1)).all()


def test_real_model_computes_the_same_logits(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "stories260K"
    checkpoint = read_any(folder / "stories260K.bin", folder / "tok512.model")
    save_checkpoint(checkpoint, tmp_path / "model")
    tokens = [1, 403, 407, 261, 378, 383, 286, 261, 376]
    assert_close(reference_logits(checkpoint, tokens), transformers_logits(tmp_path / "model", tokens))


def test_weights_are_written_as_the_safetensors_package_writes_them(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "model")
    expected = save(dict(checkpoint.tensors), metadata={"format": "pt"})
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == expected


OPENINGS = (
    "Once upon a time",
    "One day",
    "Tom and Lily",
    "The dog was",
    "She said",
    "It was",
    "Lily liked",
    "A bear",
    "In",
    "Mom",
)


@pytest.mark.parametrize("source", ["pretrained", "stories260K"])
def test_transformers_goes_on_and_stops_as_llgen_does(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if source == "pretrained":
        checkpoint = load_checkpoint(Path(str(files("llgen.codegen") / "pretrained")))
    else:
        folder: Path = request.getfixturevalue("shared") / "models" / source
        checkpoint = read_any(folder / "stories260K.bin", folder / "tok512.model")
    library = Library(checkpoint, tmp_path / "c")
    save_checkpoint(checkpoint, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    stopped = 0
    for opening in (*OPENINGS, *(f"{text}, there" for text in OPENINGS)):
        library.reset()
        library.generate(opening.encode(), checkpoint.config.max_seq_len, SamplerStruct(0.0, 1.0, 0, 0, 0))
        prompt = tokenizer(opening, return_tensors="pt")
        room = checkpoint.config.max_seq_len - prompt.input_ids.shape[1]
        found = model.generate(**prompt, do_sample=False, max_new_tokens=room)[0].tolist()
        ended = found[-1] in checkpoint.config.end_ids
        stopped += ended
        assert library.tokens() == found[: len(found) - ended], opening
    assert stopped >= 10


def test_files_of_the_ecosystem(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary))
    checkpoint = random_checkpoint(config, vocabulary=vocabulary)
    names = save_checkpoint(checkpoint, tmp_path / "model")
    assert sorted(names) == sorted(entry.name for entry in (tmp_path / "model").iterdir())
    read = {name: json.loads((tmp_path / "model" / name).read_text()) for name in names if name.endswith(".json")}
    told = {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float32", "dtype": "float32", "head_dim": 6}
    told |= {"bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "rope_theta": 5000.0}
    assert told.items() <= read["config.json"].items()
    assert read["generation_config.json"] == {"written_by": "llgen", "bos_token_id": 1, "eos_token_id": [2, 1]}
    assert read["tokenizer_config.json"]["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert read["tokenizer.json"]["model"]["vocab"]["<s>"] == 1
    assert read["tokenizer_config.json"]["bos_token"] == "<s>"
    before = {name: (tmp_path / "model" / name).read_bytes() for name in names}
    save_checkpoint(checkpoint, tmp_path / "model")
    assert before == {name: (tmp_path / "model" / name).read_bytes() for name in names}
    assert checkpoint.sha256 == load_checkpoint(tmp_path / "model").sha256


def test_replaces_its_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("today")
    with pytest.raises(LlgenError, match=r"holds 'diary\.txt', which is not llgen's to replace"):
        save_checkpoint(random_checkpoint(), tmp_path)
    assert [tmp_path / "diary.txt"] == list(tmp_path.iterdir())


@pytest.mark.parametrize("raw", [{}, {"written_by": "llgen", "transformers_version": "5.0.0"}])
def test_a_model_that_another_program_saved_is_not_replaced(tmp_path: Path, raw: dict[str, str]) -> None:
    save_checkpoint(random_checkpoint(seed=1), tmp_path / "odd")
    (tmp_path / "odd" / "generation_config.json").write_text(json.dumps(raw))
    before = {path.name: path.read_bytes() for path in (tmp_path / "odd").iterdir()}
    with pytest.raises(LlgenError, match=r"holds 'generation_config\.json', which is not llgen's to replace"):
        save_checkpoint(random_checkpoint(seed=2), tmp_path / "odd")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "odd").iterdir()}


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("older", [False, True], ids=["new folder", "older model"])
def test_a_kill_leaves_a_folder_that_the_next_try_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, older: bool
) -> None:
    if older:
        save_checkpoint(random_checkpoint(seed=1), tmp_path / "odd")
        (tmp_path / "odd" / "generation_config.json").unlink()  # as before any file told whose it is
    replace_file, done = Path.replace, []

    def killed(source: Path, target: Path) -> Path:
        if len(done) == step:
            raise KeyboardInterrupt
        done.append(target)
        return replace_file(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        save_checkpoint(random_checkpoint(seed=2), tmp_path / "odd", {"source.json": b"{}"})
    save_checkpoint(random_checkpoint(seed=2), tmp_path / "odd")
    save_checkpoint(random_checkpoint(seed=3), tmp_path / "odd")


def test_reads_shards(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    save_checkpoint(checkpoint, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    shards = {name: f"model-{index % 3 + 1:05}-of-00003.safetensors" for index, name in enumerate(sorted(tensors))}
    for shard in set(shards.values()):
        save_file({name: tensor for name, tensor in tensors.items() if shards[name] == shard}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert checkpoint.sha256 == replace(load_checkpoint(tmp_path), name="odd").sha256


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "architectures",
            ["MistralForCausalLM"],
            r"architectures = \['MistralForCausalLM'\]; llgen supports 'LlamaFor",
        ),
        ("architectures", ["LlamaForSequenceClassification"], "LlamaForSequenceClassification"),
        ("architectures", "LlamaForCausalLM", "architectures = 'LlamaForCausalLM'"),
        ("hidden_size", [36], r"hidden_size = \[36\]; it must be an integer"),
        ("eos_token_id", "</s>", r"eos_token_id = '</s>'; it must be an integer or a list of integers"),
        ("bos_token_id", 301, "config.json begins a text with token 301; the model has the tokens 0 to 300"),
    ],
)
def test_refuses_config_value(key: str, value: object, message: str, tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(), tmp_path)
    change_config(tmp_path, key, value)
    with pytest.raises(LlgenError, match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("value", "ends"), [([7, 9], (7, 9, 1)), (5, (5, 1)), (None, (1,)), ([], (1,)), ([1, 301, 4], (4, 1))]
)
def test_each_end_token_that_is_listed_ends_a_text_and_so_does_bos(
    value: object, ends: tuple[int, ...], tmp_path: Path
) -> None:
    save_checkpoint(random_checkpoint(), tmp_path / "model")
    change_config(tmp_path / "model", "eos_token_id", value)
    checkpoint = load_checkpoint(tmp_path / "model")
    assert (checkpoint.config.bos_id, checkpoint.config.end_ids) == (1, ends)
    save_checkpoint(checkpoint, tmp_path / "again")
    assert load_checkpoint(tmp_path / "again").config == checkpoint.config


@pytest.mark.parametrize("value", [None, [], ["LLaMAForCausalLM"]])
def test_an_architecture_may_be_old_or_unsaid(value: object, tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(), tmp_path)
    change_config(tmp_path, "architectures", value)
    assert load_checkpoint(tmp_path).config == ODD


def change_config(directory: Path, key: str, value: object) -> None:
    """Of a directory without the generation_config.json, which counts before it."""
    (directory / "generation_config.json").unlink(missing_ok=True)
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
