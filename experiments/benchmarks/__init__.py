"""The figures of docs/results, one section a file: ``python -m pyrogrn.experiments.benchmarks --data FOLDER``."""
