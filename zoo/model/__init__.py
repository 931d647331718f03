"""A network made of its spec: built, verified, edited, cut."""
