"""One thread for NumPy and PyTorch, if it is imported before them.

What tests compute is small; the threads of several workers, which spin while they wait, would take each other's cores.
A test that is about threads asks for its number of threads.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
