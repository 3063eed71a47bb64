"""Speed measurements: llgen's C and other engines do the same work in turn, within one run.

An engine is a separate program that measures its own time (engine.py). Each module here makes one kind of engine.
"""
