"""Hyper-parameter search with Optuna: trials, repeats of the best from further seeds, and the winner."""
