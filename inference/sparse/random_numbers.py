"""Random numbers for compiled functions: a stream for each chain, target and sweep, whichever thread asks for it.

SplitMix64 (Steele, Lea & Flood 2014, OOPSLA): a counter that goes up by an odd constant, and a mixing function of it.
A stream is a ``(1,)`` uint64 array, its counter.
"""

import math

import numpy as np

from .compiled import inlined

STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
A, B, C, TOP = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
UNIT = 2.0**-53


@inlined
def mixed(value: np.uint64) -> np.uint64:
    """A permutation of the 64-bit numbers in which every bit depends on every other."""
    value = (value ^ (value >> A)) * FIRST
    value = (value ^ (value >> B)) * SECOND
    return value ^ (value >> C)


@inlined
def seeded(stream: np.ndarray, seed: int, chain: int, target: int, sweep: int) -> None:
    """Put the stream at the start that belongs to these four."""
    value = mixed(np.uint64(seed) + STEP)
    value = mixed(value + STEP * np.uint64(chain + 1))
    value = mixed(value + STEP * np.uint64(target + 1))
    stream[0] = mixed(value + STEP * np.uint64(sweep + 1))


@inlined
def uniform(stream: np.ndarray) -> float:
    """In (0, 1), never one of the ends."""
    stream[0] += STEP
    return (np.float64(mixed(stream[0]) >> TOP) + 0.5) * UNIT


@inlined
def normal(stream: np.ndarray) -> float:
    """Standard normal (Box & Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(uniform(stream)))
    return radius * math.cos(2.0 * math.pi * uniform(stream))


@inlined
def gamma(stream: np.ndarray, shape: float) -> float:
    """Gamma of rate one and a shape of at least one (Marsaglia & Tsang 2000, ACM Trans Math Softw 26:363)."""
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(stream)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        if math.log(uniform(stream)) < 0.5 * x * x + d - d * v + d * math.log(v):
            return d * v
