"""The composer probe: a logistic regression on the vectors of a model, and its scores with intervals over works."""
