"""The arithmetic that every machine obeys: operations on float32, integer matrices, and constants in C."""
