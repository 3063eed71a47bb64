"""Measuring speed: llgen's C against other engines on the same work, in turns within one run.

An engine is a program of its own with a clock of its own (engine.py); each module here makes one kind of them.
"""
