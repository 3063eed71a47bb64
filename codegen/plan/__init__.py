"""Decisions before any C exists: kernels, sizes, places in memory, and whether it all fits."""
