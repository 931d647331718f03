"""Measure networks, and show the figures."""
