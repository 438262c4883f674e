"""Decode sound files: locate the recordings a file contains and read their samples with libsndfile or FFmpeg."""
