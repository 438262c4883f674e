"""Hyper-parameter search with Optuna: trials, their repeats, and the winner."""
