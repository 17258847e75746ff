"""Run directories as a whole: what remains to do in one, who works in it, how far it is, and whether it is in order."""
