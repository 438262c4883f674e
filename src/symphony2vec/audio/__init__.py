"""Recordings and scores become mono audio of equal loudness, one file a movement."""
