"""Answers that need not be asked for: which inputs to ask about, what the others would be answered, and how surely.

Knows inputs by digests, counts and words, and answers by numbers; nothing of images, models or records.
"""
