"""Evaluation of frozen models by their vectors: composer accuracy, musical properties, retrieval, and statistics."""
