"""Readers and writers of the files that other tools write and read."""
