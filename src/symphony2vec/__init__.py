"""symphony2vec: embeddings of orchestral audio, from scores or recordings to a probed vector for every clip."""

__version__ = "0.1.0"
