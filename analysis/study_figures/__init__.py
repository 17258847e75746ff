"""The figures and findings of a study: the results of several tracks, each at one or two K, over the same images.

Every figure is three functions: one computes its data from the study, one draws them, one puts them into sentences.
Metrics come from `ictc.analytics`; `catalog.py` lists the figures.
"""
