"""The type of path arguments in functions that users call."""

from __future__ import annotations

import os

Pathlike = str | os.PathLike[str]
"""A text or a `pathlib.Path`; the function that takes it converts it to a Path first."""
