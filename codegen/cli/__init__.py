"""The `llgen` command: it parses the command line, calls the pipeline and prints. Each command is one module."""

from .main import main

__all__ = ["main"]
