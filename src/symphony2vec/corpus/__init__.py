"""Fill `data/` with the starter corpus, OpenScore Orchestra, or the user's own recordings, each with a catalogue."""
