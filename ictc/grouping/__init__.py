"""Groups labels so that the outcome does not hang on luck: many proposals, one consensus, levels, how many groups.

Knows labels, their counts, vectors, and where proposals put labels; no engine, no prompt and no file.
"""
