"""What the compiled sweep reads and writes, as tuples of arrays."""

from typing import NamedTuple

import numpy as np

MOST_FACTORS = 64  # values of h of which `cuts.CutFactors` are kept: two sets of nodes, and that of each chain
FACTOR_BYTES = 3e8  # that those of all targets take at the most, but for one a chain


def factor_bytes(number: np.ndarray) -> float:
    """Of `cuts.CutFactors` at one h, of targets that leave out ``number`` (target,) rows each."""
    number = number.astype(np.float64)
    return 8 * float((number**2 + number + 3).sum())


def factors_kept(number: np.ndarray, chains: int) -> int:
    """Values of h of which they are kept; whatever they take, at least those of the chains."""
    return max(chains, min(MOST_FACTORS, int(FACTOR_BYTES // max(factor_bytes(number), 1.0))))


class Gram(NamedTuple):
    """Statistics of one Gram matrix with the background integrated out, G̃ = G (1 + h G)⁻¹.

    ``matrix`` (tf, tf) float32; ``background`` h; ``correction`` (tf,) float32, κ_t = h / (1 − h G̃_tt): what the
    background of a regulator's own level has to be taken back by where that regulator is the target, G̃ + κ_t g̃_t g̃_tᵀ.
    """

    matrix: np.ndarray
    background: float
    correction: np.ndarray


class Cut(NamedTuple):
    """`Gram`, and cells that targets leave out (`cuts`): ``rows`` (row, tf) float32 B, those of a target from ``begin``
    to ``end`` (target,)."""

    matrix: np.ndarray
    background: float
    correction: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    rows: np.ndarray


class Terms(NamedTuple):
    """The prior of the weights of one chain, in units of the noise: present with some log-odds, then of mean s m and
    variance τ²; and what follows for a regulator at one Gram matrix.

    ``logit`` and ``pull`` (class,) float32: log-odds less ½ (s m)²/τ², and s m/τ²; ``member`` (target, tf) int32 the
    class of each edge, of shape (1, 1) where the class is the regulator; ``width`` τ². Of targets that are no
    regulators, (tf,) float32: ``diagonal`` G̃_jj, ``half`` = ½ K, K = 1/(G̃_jj + 1/τ²), and ``bend`` = ½ log(K/τ²);
    ``odds`` = logit + bend, where the class is the regulator.
    """

    logit: np.ndarray
    pull: np.ndarray
    member: np.ndarray
    width: float
    diagonal: np.ndarray
    half: np.ndarray
    bend: np.ndarray
    odds: np.ndarray

    @classmethod
    def of(
        cls, gram: "Gram", logit: np.ndarray, pull: np.ndarray, member: np.ndarray, width: float
    ) -> "Terms":  # fmt: skip
        """At one Gram matrix; ``logit`` and ``pull`` of any float type."""
        diagonal = gram.matrix.diagonal().astype(np.float64)
        k = 1 / (diagonal + 1 / width)
        bend = 0.5 * np.log(k / width)
        small = lambda value: np.ascontiguousarray(value, dtype=np.float32)
        odds = logit + bend if member.shape == (1, 1) else bend
        return cls(small(logit), small(pull), member, width, small(diagonal), small(0.5 * k), small(bend), small(odds))


class Partners(NamedTuple):
    """Regulators that may take each other's place: those of t are ``other[start[t]:start[t + 1]]`` (t is among theirs);
    ``twins`` (pair, 2) int64 those that the data can hardly tell apart."""

    start: np.ndarray
    other: np.ndarray
    twins: np.ndarray


class Targets(NamedTuple):
    """The state of one chain: ``weight`` and ``residual`` (target, tf) float32, w and r = b̃ − G̃ w; ``sse`` and
    ``noise`` (target,) float64, the residual sum of squares with the background integrated out and σ²; ``edges``
    (target,) int64, how many are present; ``dof`` (target,) float64; ``own`` (target,) int64 the regulator that the
    target is, or −1; ``number`` (target,) int64 its place in the model, which its random numbers belong to."""

    weight: np.ndarray
    residual: np.ndarray
    sse: np.ndarray
    noise: np.ndarray
    edges: np.ndarray
    dof: np.ndarray
    own: np.ndarray
    number: np.ndarray


class Sums(NamedTuple):
    """Sums over recorded sweeps, (target, tf): ``inclusion`` float32 of one chain; of all chains ``first`` and
    ``second`` float64 moments of the weight, background included, ``positive`` and ``negative`` float32 how often it
    existed with that sign."""

    inclusion: np.ndarray
    first: np.ndarray
    second: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


class Edges(NamedTuple):
    """One target while it is swept: views and constants, each (tf,) float32 unless said otherwise.

    ``weight``, ``residual`` as in `Targets`; ``diagonal`` of its G̃; ``odds`` and ``half``: a regulator whose score is c
    is present with log-odds odds + half (c/σ + pull)²; ``pull``; ``watch`` is odds where the edge
    is absent, and beyond all where it is present; ``sse`` (1,) float64; ``own``, ``correction`` of its
    own level, 0 where it is no regulator; ``width`` τ².
    """

    gram: np.ndarray
    weight: np.ndarray
    residual: np.ndarray
    diagonal: np.ndarray
    odds: np.ndarray
    half: np.ndarray
    pull: np.ndarray
    watch: np.ndarray
    sse: np.ndarray
    own: int
    correction: float
    width: float


class CutEdges(NamedTuple):
    """`Edges` of a target that leaves cells out: its G̃ is ``gram`` less the sum of the squares of rows ``begin`` to
    ``end`` of ``cut`` (row, tf), and ``level`` (tf,) the row of that for the regulator that it is."""

    gram: np.ndarray
    weight: np.ndarray
    residual: np.ndarray
    diagonal: np.ndarray
    odds: np.ndarray
    half: np.ndarray
    pull: np.ndarray
    watch: np.ndarray
    sse: np.ndarray
    own: int
    correction: float
    width: float
    level: np.ndarray
    cut: np.ndarray
    begin: int
    end: int
