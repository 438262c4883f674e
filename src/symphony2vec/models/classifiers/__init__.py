"""Supervised networks that predict the composer (Table 3)."""
