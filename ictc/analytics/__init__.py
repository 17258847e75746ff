"""What the clusters of finished runs say: metrics, comparisons and tables, computed from the exported results.

Knows exported files and arrays; knows nothing of journals, engines or prompts. Needs the extra `analysis`, so modules
here are imported inside the functions that use them, under `ictc.analytics.extra.analysis_packages`.
"""
