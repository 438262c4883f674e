"""Turn recordings and scores into mono audio of equal loudness, one file a movement."""
