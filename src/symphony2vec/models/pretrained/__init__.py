"""Models that are installed with symphony2vec, evaluated beside those that the project trains."""
