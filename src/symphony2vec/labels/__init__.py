"""Known properties of every clip, from its score and from its audio."""
