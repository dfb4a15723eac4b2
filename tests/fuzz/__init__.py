"""Mutated inputs against every reader, command, option and stored folder: ``make fuzz``.

``python -m fuzz --seed 1 --cases 10000`` from ``tests``; ``--case 417`` makes one case of a seed again. The seed and
the number of a case decide everything in it.
"""
