"""Clips of equal length, their splits by whole works, and the check that no sound lies on two sides of a split."""
