"""The composer probe: a logistic regression on frozen vectors, and its scores with intervals over works."""
