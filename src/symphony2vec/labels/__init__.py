"""Musical properties of every clip that are known exactly, from its score and from its audio."""
