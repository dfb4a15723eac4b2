"""Priors on loadings of gene programs."""
