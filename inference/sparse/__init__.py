"""The compiled sampler of `engines.sparse_gibbs`: point masses with the background integrated out."""
