"""`llgen tune`: sizes of blocks and tiles found by measuring, and written where `llgen build` reads them.

knobs.py says what is tried, trials.py makes programs of it, judges.py measures them, search.py chooses, and tuner.py
puts these together; tuning.py, outside, is the file.
"""
