"""Draws the example collection: invented ads, interface screens and broken files, with Pillow alone."""
