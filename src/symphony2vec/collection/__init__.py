"""A collection: the vectors of many recordings in one file, for search, maps and other tools."""
