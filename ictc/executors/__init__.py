"""Where the requests of a step are answered: on this machine, or on a cluster that a distributed engine runs.

An executor knows lanes, engines and images, and nothing of run directories: what it finishes, it hands to the lanes,
which record it in this process.
"""
