"""The pipeline from a model directory to specialised, verified C."""

__version__ = "0.1.0"
