"""The Gibbs sampler of spike-and-slab networks and its kernels."""
