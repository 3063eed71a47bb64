"""Jinja2 templates of the generated C, and the C headers that are copied as they are."""
