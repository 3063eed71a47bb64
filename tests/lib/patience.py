"""How long a test waits for a process before it takes it for stuck: no busy machine is so slow."""

PATIENCE = 1800
"""Seconds. A test that waits for less, or measures time, fails where the processor is shared."""
