"""The steps of a run: one module a step, which holds everything particular to it, and one table of them.

`base` says what a step is, `table` which there are; whoever works with steps walks the table and knows none by name.
"""
