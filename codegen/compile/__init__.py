"""Runs the C compiler, and measures flash, RAM and stack from its objects."""
