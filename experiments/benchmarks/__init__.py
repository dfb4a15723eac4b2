"""The figures quoted in the README, one section a file: ``python -m pyrogrn.experiments.benchmarks --data FOLDER``."""
