#!/usr/bin/env bash
# CTranslate2 4.8.5, transformers 5.23.0, torch 2.13.0
#
# Llama models with rope_type "llama3" convert without a warning, and the converted model computes other logits than
# transformers does; the converter hands the factors over and not original_max_position_embeddings. Without scaling, and
# with rope_type "linear", logits agree.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages ctranslate2==4.8.5 transformers==5.23.0 torch==2.13.0

cat > "$work/try.py" << 'EOF'
import pathlib
import sys

import ctranslate2
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(61))]
ids = [1, *(3 + 7 * i % 61 for i in range(199))]


def share(name, **rope):
    """The largest difference of a logit, as a share of the range of all."""
    folder = pathlib.Path(sys.argv[1]) / name
    folder.mkdir()
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        rope_parameters={"rope_theta": 10000.0, **rope},
    )
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    ctranslate2.converters.TransformersConverter(str(folder)).convert(str(folder / "converted"))
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    found = np.asarray(ctranslate2.Generator(str(folder / "converted")).forward_batch([[words[i] for i in ids]]))[0]
    return np.abs(found - expected).max() / (expected.max() - expected.min())


def verdict(difference):
    return "equal to 1e-4" if difference < 1e-4 else "off by more than a tenth" if difference > 0.1 else "between"


llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
print("default:", verdict(share("default", rope_type="default")))
print("linear: ", verdict(share("linear", rope_type="linear", factor=4.0)))
print("llama3: ", verdict(share("llama3", **llama3, original_max_position_embeddings=64)))
EOF
expect "logits beside those of transformers" "$(python "$work/try.py" "$work" 2> /dev/null)" "\
default: equal to 1e-4
linear:  equal to 1e-4
llama3:  off by more than a tenth"
