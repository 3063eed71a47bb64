"""Every decision in the words of C, for templates to lay out."""
