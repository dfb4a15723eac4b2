"""Rates, steady states and solvers of the models in time."""
