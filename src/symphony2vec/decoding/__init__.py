"""Sound files become samples: what each format really holds, decoded by libsndfile and FFmpeg."""
