"""A corpus of malformed inputs, each made by a small function, and what the programs say of it."""
