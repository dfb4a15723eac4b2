"""A run of an engine: what it is given, its steps, and the record of how it went."""
