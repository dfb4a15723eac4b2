"""Experiments: readers, tasks, methods, scores, benchmarks, report, command line; import from the module of each."""
