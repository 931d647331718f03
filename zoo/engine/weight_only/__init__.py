"""Rows whose weights alone are integers: what is stored and read is smaller, and the products are of floats."""
