"""A model in memory: its dimensions, tensors and tokens."""
