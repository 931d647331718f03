"""A module a runtime: how it opens the file that it reads, and how the file for its users is written."""
