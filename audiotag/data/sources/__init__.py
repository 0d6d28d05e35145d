"""Data sources: a class for each layout in which recordings and labels may lie."""
