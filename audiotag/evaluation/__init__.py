"""Scores of posteriors against labels."""
