"""A directory in the layout of Hugging Face transformers."""
