"""Clips of equal length, their splits by whole works, and the check for near-duplicates across splits."""
