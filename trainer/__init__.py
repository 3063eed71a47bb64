"""Training small Llama models in PyTorch; the only package of llgen that imports torch."""

import os

# PyTorch's threads wait for one another at every operator, by default in a busy loop: as soon as another process wants
# a core too, a small model trains ten times slower. Sleeping instead has to be asked for before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
