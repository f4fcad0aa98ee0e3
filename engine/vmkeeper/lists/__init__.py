"""Signed image lists in the HEPiX format."""
