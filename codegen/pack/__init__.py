"""Matrices and tables as the bytes that go into flash."""
