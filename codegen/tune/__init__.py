"""`llgen tune`: find sizes of blocks and tiles by measuring, and write them to a file for `llgen build`.

knobs.py says which sizes are tried, trials.py builds programs with them, judges.py measures the programs, search.py
chooses, and tuner.py puts these together. plan/tuning.py reads the file.
"""
