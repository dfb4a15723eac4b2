"""Engines: what turns a model and its data into draws."""
