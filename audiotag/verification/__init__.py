"""Consensus of excerpts, the acceptance rule and the ledger."""
