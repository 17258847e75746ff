"""Captions and texts from elsewhere become a run directory, on which every later step works.

A source (`reference.py`, `texts.py`) yields an item for each image or text; `writing.py` makes a manifest and journals
of them; `run.py` goes on with the steps that are left. Sources are only read.
"""
