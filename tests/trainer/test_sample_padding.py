"""Text that PyTorch samples contains no padding."""

from dataclasses import replace

import torch
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.trainer.evaluate import score_documents
from llgen.trainer.model import Llama
from llgen.trainer.quantize.calibration import batches_of_text
from llgen.trainer.quantize.writing import written_texts
from llgen.trainer.sample import sample_text, sample_tokens

VOCABULARY = trained_vocabulary().padded(600)


def model_that_likes_padding(**changes: object) -> Llama:
    checkpoint = random_checkpoint(replace(ODD, vocab_size=600, **changes), vocabulary=VOCABULARY)
    classifier = checkpoint.tensors["lm_head.weight"].copy()
    classifier[list(VOCABULARY.padding)] *= 3
    return Llama.from_checkpoint(replace(checkpoint, tensors={**checkpoint.tensors, "lm_head.weight": classifier}))


def test_sampling_and_writing_pass_over_padding():
    model, padding = model_that_likes_padding(end_ids=()), set(VOCABULARY.padding)
    for temperature in (0.0, 1.0):
        assert padding & set(sample_tokens(model, [1], 40, temperature=temperature))
        chosen = sample_tokens(model, [1], 40, temperature=temperature, padding=VOCABULARY.padding)
        assert len(chosen) == 40
        assert not padding & set(chosen)
    assert "[PAD" not in sample_text(model, VOCABULARY, "the fox")
    texts = torch.cat(written_texts(model, 1, 8, 20, padding=VOCABULARY.padding))
    assert not padding & set(texts.flatten().tolist())
    assert padding & set(torch.cat(written_texts(model, 1, 8, 20)).flatten().tolist())


def test_texts_without_a_beginning_are_sampled_scored_and_calibrated_on():
    model = model_that_likes_padding(bos_id=None, end_ids=(2,))
    tokens = VOCABULARY.encode("the fox")
    assert sample_text(model, VOCABULARY, "the fox", 3).startswith("the fox")
    sample_text(model, VOCABULARY, "", 3)
    score = score_documents(model, VOCABULARY, ["the fox", "the"])
    assert (score.documents, score.tokens) == (1, len(tokens) - 1)  # a text of one token has no prediction
    text = "the fox, the fox"
    batches = batches_of_text([text] * 2, VOCABULARY, (), 20, 9)
    assert [batch.tolist() for batch in batches] == [[VOCABULARY.encode(text)] * 2]
