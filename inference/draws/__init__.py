"""Draws of a posterior, and what is read of them."""
