"""How every network of the project is trained: one loop, and one way through all folds."""
