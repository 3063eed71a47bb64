"""Training small Llama models in PyTorch; the only package of llgen that imports torch."""

import os

# PyTorch's threads wait for each other at every operator, in a busy loop that is long by default. When another process
# needs a core, this makes the training of a small model twenty times slower. A shorter loop costs some speed on an idle
# machine and saves much more on a busy one. The variable must be set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
