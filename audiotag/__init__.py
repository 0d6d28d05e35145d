"""audiotag: from half-checked recordings to a self-verified audio tagger."""

__version__ = "0.1.0"
