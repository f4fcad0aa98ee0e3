"""Builders: from recipes to image files."""
