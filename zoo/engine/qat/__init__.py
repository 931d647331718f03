"""Rows that train with the roundings of int8: floats flow, on the codes that the int8 row will have."""
