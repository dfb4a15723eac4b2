"""Parts of variational inference: the sites of a model as a flat vector, its optimiser, draws of a fitted guide."""
