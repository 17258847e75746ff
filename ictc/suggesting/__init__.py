"""Criteria proposed: by what the images of a collection could be sorted, found out from a sample of them."""
