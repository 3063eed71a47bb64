"""The model in NumPy: the specification of what generated C computes."""
