"""Evaluation of frozen vectors: composer accuracy, musical properties, retrieval, and the statistics of all of them."""
