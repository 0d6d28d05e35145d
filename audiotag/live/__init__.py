"""Labels of sound while it comes: where it comes from, windows of it, and what a person sees."""
