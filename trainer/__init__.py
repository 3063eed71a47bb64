"""Training small Llama models in PyTorch; the only package of llgen that imports torch."""

import os

# PyTorch's threads wait for one another at every operator, in a busy loop that is long by default: when another process
# wants a core too, a small model trains twenty times slower. A shorter loop gives up some speed on an idle machine and
# wins back a multiple of that on a busy one; it has to be asked for before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
