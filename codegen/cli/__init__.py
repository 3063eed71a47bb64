"""The `llgen` command: parses, calls the pipeline, prints. One module a command."""

from .main import main

__all__ = ["main"]
