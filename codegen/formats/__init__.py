"""Readers and writers of other tools' model files; each converts to or from a Checkpoint."""
