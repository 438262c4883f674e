"""Temporal ALI: a bidirectional encoder-decoder over the full ten-second clip."""
