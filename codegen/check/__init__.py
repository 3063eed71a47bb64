"""Compares generated C with the reference, and the reference with other programs."""
