"""Factor models, exactly: sweeps, starts, alignment of factors."""
