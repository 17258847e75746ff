"""Cluster large image collections by a criterion written in words."""

__version__ = "0.1.0"
