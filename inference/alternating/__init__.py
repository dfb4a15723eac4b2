"""FactorBox by alternating least squares."""
