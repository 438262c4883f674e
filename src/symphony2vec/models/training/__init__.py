"""Training of all networks: one training loop, and one function that trains a model on every fold."""
