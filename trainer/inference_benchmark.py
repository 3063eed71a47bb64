"""Inference speed of PyTorch: `python -m llgen.trainer.inference_benchmark MODEL KIND POSITIONS REPEATS THREADS`.

`llgen bench --against torch` runs this. The model is the one that is trained, in eager mode, with a cache of keys and
values. KIND is `prefill` or `decode`. The seconds of each repeat are printed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from llgen.codegen.formats.hf.directory import load_checkpoint

from .model import Cache, Llama


def main(argv: list[str]) -> int:
    """Load the model, time the repeats, print the times; returns the exit code."""
    path, kind, *numbers = argv
    positions, repeats, threads = map(int, numbers)
    torch.set_num_threads(threads)
    model = Llama.from_checkpoint(load_checkpoint(Path(path))).eval()
    work = _prefill if kind == "prefill" else _decode
    cache = Cache.empty(model.config)
    with torch.inference_mode():
        for _ in range(repeats):
            cache.length = 0
            begin = time.perf_counter()
            work(model, cache, positions)
            print(f"seconds {time.perf_counter() - begin:.9f}")
    return 0


def _decode(model: Llama, cache: Cache, positions: int) -> None:
    token = torch.tensor([[model.config.start_id]])
    for _ in range(positions):
        token = model(token, cache)[:, -1].argmax(-1, keepdim=True)


def _prefill(model: Llama, cache: Cache, positions: int) -> Tensor:
    """Evaluate `positions` tokens together; returns the logits of the last position only, [1, 1, V]."""
    tokens = (model.config.start_id + 97 * torch.arange(positions)).remainder(model.config.vocab_size)[None]
    x = model.model(tokens, model.rope_cos[:positions], model.rope_sin[:positions], cache)  # [1, T, D]
    classifier = model.model.embed_tokens.weight if model.lm_head is None else model.lm_head.weight
    return F.linear(x[:, -1:], classifier)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
