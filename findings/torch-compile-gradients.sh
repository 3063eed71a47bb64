#!/usr/bin/env bash
# torch 2.13.0 on a CPU with two threads
#
# The compiled gradient of an embedding is another one each time, in one process and for the same numbers; it is summed
# by atomic additions, in the order in which threads come. Eager mode gives one. With
# torch.use_deterministic_algorithms(True) the compiled gradient is one, too; nothing warns without it.
# It takes a C++ compiler, and two cores: one thread alone cannot race.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs g++ g++
[ "$(python3 -c 'import os; print(len(os.sched_getaffinity(0)))')" -ge 2 ] || { echo "not tried: one core"; exit 77; }
packages torch==2.13.0 numpy==2.4.6

cat > "$work/try.py" << 'EOF'
import sys

import torch

torch.set_num_threads(2)
torch.use_deterministic_algorithms("deterministic" in sys.argv)
torch.manual_seed(1)
embedding = torch.nn.Embedding(512, 64)
head = torch.nn.Linear(64, 512)
tokens = torch.randint(0, 512, (8, 256))


def loss():
    logits = head(torch.relu(embedding(tokens))).view(-1, 512)
    return torch.nn.functional.cross_entropy(logits, tokens.roll(1).view(-1))


step = torch.compile(loss) if "compiled" in sys.argv else loss
gradients = set()
for _ in range(40):
    embedding.zero_grad()
    step().backward()
    gradients.add(embedding.weight.grad.numpy().tobytes())
print("one" if len(gradients) == 1 else "several")
EOF
export TORCHINDUCTOR_CACHE_DIR=$work/inductor
expect "gradients of 40 equal steps, eager" "$(python "$work/try.py")" "one"
expect "gradients of 40 equal steps, compiled" "$(python "$work/try.py" compiled)" "several"
expect "gradients of 40 equal steps, compiled, deterministic" "$(python "$work/try.py" compiled deterministic)" "one"
