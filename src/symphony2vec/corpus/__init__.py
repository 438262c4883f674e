"""Fills `data/`: the starter corpus, OpenScore Orchestra, or the user's own recordings, each with one catalogue."""
