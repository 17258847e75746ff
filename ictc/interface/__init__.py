"""The Python interface, and what it shares with the command line: everything around a pipeline but printing."""
