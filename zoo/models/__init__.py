"""Architectures as data: a file a family, no torch."""
