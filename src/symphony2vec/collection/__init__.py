"""A collection: the vectors of many recordings in one file, to search, to map, or to work on with other tools."""
