"""Facts about the characters of Unicode 16.0."""
