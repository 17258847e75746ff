"""How the clusters of Step 2b are made."""
