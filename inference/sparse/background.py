r"""The infinitesimal background, integrated out: what it makes of the statistics, and its likelihood.

Each target is y = X w + X u + e, with w sparse, :math:`u \sim N(0, h\sigma^2 1)`, :math:`e \sim N(0, \sigma^2 1)`; so
given w, y has covariance :math:`\sigma^2 M`, :math:`M = 1 + h X X^\top`, and

.. math:: \tilde G = X^\top M^{-1} X = G (1 + hG)^{-1}, \qquad r = X^\top M^{-1}(y - Xw) = (1 + hG)^{-1} (b - Gw),

.. math:: (y - Xw)^\top M^{-1} (y - Xw) = \lVert y - Xw\rVert^2 - h \sum_k \frac{z_k^2}{1 + h\lambda_k}, \qquad
          z = V^\top (b - Gw), \quad \log\lvert M\rvert = \sum_k \log(1 + h\lambda_k)

with one eigendecomposition :math:`G = V \Lambda V^\top` for all targets and all h. A regulator has no background of its
own level: with x its level, :math:`(M - h x x^\top)^{-1} = M^{-1} + \kappa M^{-1} x x^\top M^{-1}`, :math:`\kappa = h /
(1 - h x^\top M^{-1} x)`, and the determinant is :math:`1 - h x^\top M^{-1} x` times that of M.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock

import numpy as np
import torch

from ...models.data.decomposed import decomposed
from .compiled import compiled
from .cuts import CutFactors, CutLikelihood, Cuts, add_rows, correct_base, divide_all, own_correction
from .tables import Gram
from .window import Window

Place = tuple[float, Window | None]
"""h, and the window in which G̃ is interpolated there."""

DENSE = 0.2  # share of the weights that are not zero, beyond which a product of matrices is quicker
CLOSE, HALF = 14, 2.0  # nodes of the likelihood of h, and how far from their middle in log h: wrong by 1e-7
GRID = 0.5  # of the middles: what does not depend on the weights is then known from the last time
MOST_LEFTS, LEFTS = 256, Lock()  # of what is kept of a spectrum
CACHE_LINE = 64  # bytes; torch aligns what it allocates to it, numpy does not
AT_ONCE = 1024  # targets of which rotated statistics are in memory together


@compiled
def multiply(weight: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
    """``out`` (index, tf) becomes w A of sparse weights ``weight`` (index, tf), ``matrix`` A (tf, tf)."""
    for target in range(len(weight)):
        row = out[target]
        row[:] = np.float32(0)
        for j in range(weight.shape[1]):
            value = weight[target, j]
            if value != np.float32(0):
                for k in range(len(row)):
                    row[k] += value * matrix[j, k]


def aligned(array: np.ndarray) -> torch.Tensor:
    """The array, or a copy of it, that begins on a cache line. MKL adds up small products in an order that depends on
    where they lie: a run that is resumed, elsewhere in memory, would differ in the last digit, and then in all."""
    found = torch.from_numpy(array)
    return found if array.ctypes.data % CACHE_LINE == 0 else found.clone()


def product(weight: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``(index, tf)`` float32 w A, of weights that are dense or sparse."""
    out = np.empty_like(weight)
    if np.count_nonzero(weight) > DENSE * weight.size:
        out[:] = torch.mm(aligned(weight), aligned(matrix)).numpy()
    else:
        multiply(weight, matrix, out)
    return out


@compiled
def interpolate(parts: np.ndarray, shares: np.ndarray, out: np.ndarray) -> None:
    """``out`` (index, tf) becomes the sum of ``parts`` (node, index, tf), each times its one of ``shares`` (node,)."""
    for target in range(len(out)):
        row, part = out[target], parts[0, target]
        for j in range(len(row)):
            row[j] = shares[0] * part[j]
        for node in range(1, len(parts)):
            share, part = shares[node], parts[node, target]
            for j in range(len(row)):
                row[j] += share * part[j]


@compiled
def left_over(score: np.ndarray, values: np.ndarray, turned: np.ndarray) -> None:
    """``turned`` (index, tf) becomes score − Λ turned, in place."""
    for target in range(len(turned)):
        for k in range(turned.shape[1]):
            turned[target, k] = score[target, k] - values[k] * turned[target, k]


@compiled
def settle(
    weight: np.ndarray, taken: np.ndarray, matrix: np.ndarray, own: np.ndarray, correction: np.ndarray,
    start: np.ndarray, cut: np.ndarray, residual: np.ndarray, square: np.ndarray,
) -> None:  # fmt: skip
    """``residual`` b̃ (index, tf) becomes r, and ``square`` (index,) float64, what w = 0 leaves, what w leaves;
    ``taken`` is w G̃, ``cut`` (row, tf) B of each target from ``start`` (index + 1,) on."""
    for target in range(len(weight)):
        row = residual[target]
        for r in range(start[target], start[target + 1]):
            lost = 0.0
            for j in range(len(row)):
                lost += float(weight[target, j]) * float(cut[r, j])
            for j in range(len(row)):
                taken[target, j] -= np.float32(lost) * cut[r, j]
        explained = 0.0
        for j in range(len(row)):
            before = row[j]
            row[j] = before - taken[target, j]
            explained += float(weight[target, j]) * (float(before) + float(row[j]))
        square[target] -= explained
        t = own[target]
        if t >= 0:
            level = float(row[t])
            kappa = own_correction(correction[t], cut, start[target], start[target + 1], t)
            square[target] += kappa * level * level
            more = np.float32(kappa * level)
            for j in range(len(row)):
                row[j] += more * matrix[t, j]
            for r in range(start[target], start[target + 1]):
                for j in range(len(row)):
                    row[j] -= more * cut[r, t] * cut[r, j]


@compiled
def levels_at(vectors: np.ndarray, own: np.ndarray, z: np.ndarray, shrinks: np.ndarray) -> np.ndarray:
    """``(row, node)`` float64 Σ_k v_tk z_k s_k of each of ``z`` (row, tf), t its one of ``own`` (row,), v the rows of
    ``vectors``, s of ``shrinks`` (tf, node)."""
    found = np.zeros((len(z), shrinks.shape[1]))
    for row in range(len(z)):
        t = own[row]
        for k in range(z.shape[1]):
            value = np.float64(vectors[t, k]) * np.float64(z[row, k])
            for node in range(shrinks.shape[1]):
                found[row, node] += value * shrinks[k, node]
    return found


@compiled
def weighed_squares(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``(index,)`` float64 Σ_k weight_k table_k² of each row; in one order whatever else the machine does."""
    found = np.empty(len(table))
    for row in range(len(table)):
        total = 0.0
        for k in range(table.shape[1]):
            total += weight[k] * np.float64(table[row, k]) * np.float64(table[row, k])
        found[row] = total
    return found


@compiled
def sum_of_squares(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``(tf,)`` float64 Σ_row weight_row table_row²."""
    total = np.zeros(table.shape[1])
    for row in range(len(table)):
        for k in range(table.shape[1]):
            total[k] += weight[row] * np.float64(table[row, k]) * np.float64(table[row, k])
    return total


@dataclass(eq=False)
class Spectrum:
    """One eigendecomposition G = V Λ Vᵀ, ``values`` (tf,) float64 and ``vectors`` (tf, tf) float32, and G̃ at the last
    ``most`` values of h that were asked for."""

    values: np.ndarray
    vectors: np.ndarray
    most: int = 1
    kept: dict[Place, Gram] = field(default_factory=dict)
    lefts: dict[float, np.ndarray] = field(default_factory=dict)
    nodes: tuple[Window, np.ndarray] | None = None  # G̃ at the nodes of a window, (node, tf, tf) float32

    @classmethod
    def of(cls, gram: np.ndarray, share: float = 1.0) -> "Spectrum":
        """Of G times ``share``."""
        values, vectors = decomposed(gram)
        return cls(values * share, np.ascontiguousarray(vectors.astype(np.float32)))

    def shrunk(self, h: float) -> np.ndarray:
        """``(tf, tf)`` float32 G̃."""
        first = np.count_nonzero(self.values == 0)  # ascending: what adds nothing comes first
        vectors, values = aligned(np.ascontiguousarray(self.vectors[:, first:])), self.values[first:]
        return ((vectors * torch.from_numpy((values / (1 + h * values)).astype(np.float32))) @ vectors.T).numpy()

    def gram(self, h: float, window: Window | None = None) -> Gram:
        """G̃ and what goes with it; interpolated in a ``window``."""
        found = self.kept.pop((h, window), None)
        if found is None:
            found = Gram(self._matrix(h, window), h, (h / self.left(h)).astype(np.float32))
        while len(self.kept) >= self.most:
            del self.kept[next(iter(self.kept))]
        self.kept[h, window] = found
        return found

    def _matrix(self, h: float, window: Window | None) -> np.ndarray:
        if window is None:
            return self.shrunk(h)
        self.set_nodes(window)
        assert self.nodes is not None
        found = np.empty_like(self.vectors)
        interpolate(self.nodes[1], window.coefficients(h).astype(np.float32), found)
        return found

    def set_nodes(self, window: Window | None) -> None:
        """G̃ at the nodes of a window."""
        if window is not None and (self.nodes is None or self.nodes[0] != window):
            self.nodes = window, np.stack([self.shrunk(node) for node in window.nodes])

    def left(self, h: float) -> np.ndarray:
        """``(tf,)`` 1 − h G̃_tt, without cancellation."""
        with LEFTS:
            found = self.lefts.get(h)
            if found is None:
                while len(self.lefts) >= MOST_LEFTS:
                    del self.lefts[next(iter(self.lefts))]
                found = self.lefts[h] = weighed_squares(self.vectors, 1 / (1 + h * self.values))
        return found

    def __getstate__(self) -> dict:
        """What G̃ is made of is all that is sent to another process."""
        kept: dict = {"kept": {}, "lefts": {}, "nodes": None}
        return {"values": self.values, "vectors": self.vectors, "most": self.most, **kept}


@dataclass(frozen=True, eq=False)
class Stored:
    """Statistics without weights at the nodes of a `Window`: b̃ ``score`` (node, index, tf) float32, yᵀ M⁻¹ y ``square``
    (node, index) float64."""

    window: Window
    score: np.ndarray
    square: np.ndarray
    flat: np.ndarray | None = None  # of targets with `Cuts` A P⁻¹, (node, row, tf) float32


@dataclass(frozen=True, eq=False)
class Background:
    """Targets that share a Gram matrix, but for the ``cuts`` that each may have.

    ``targets`` (index,) places among those that are swept together; ``own`` (index,) the regulator that each is, or −1;
    ``spectrum`` of G; ``score`` (index, tf) float32, Vᵀ b; ``square`` (index,) float64, yᵀ y.
    """

    targets: np.ndarray
    own: np.ndarray
    spectrum: Spectrum
    score: np.ndarray
    square: np.ndarray
    cuts: Cuts | None = None

    @classmethod
    def of(
        cls, gram: np.ndarray, anchor: np.ndarray, residual: np.ndarray, sse: np.ndarray, targets: np.ndarray,
        own: np.ndarray, spectrum: Spectrum | None = None, cuts: Cuts | None = None,
    ) -> "Background":  # fmt: skip
        """From G (tf, tf), whose ``spectrum`` may be known, and, of the targets, anchor ŵ and residual b − G ŵ (tf,
        target), and sse (target,) at ŵ; ``cuts`` with A in place of A V."""
        spectrum = Spectrum.of(gram) if spectrum is None else spectrum
        gram, vectors = gram.astype(np.float64), spectrum.vectors.astype(np.float64)
        score = np.empty((len(targets), len(gram)), np.float32)
        square = np.empty(len(targets))
        for start in range(0, len(targets), AT_ONCE):  # in float64, some at a time
            rows = slice(start, start + AT_ONCE)
            w, r = anchor[:, rows].astype(np.float64), residual[:, rows]
            b = r + gram @ w
            if cuts is not None:
                b -= cuts.chosen(rows).product(w)
            score[rows] = b.T @ vectors
            square[rows] = sse[rows] + (w * (b + r)).sum(0)
        return cls(targets, own, spectrum, score, square, None if cuts is None else cuts.rotated(spectrum.vectors))

    @property
    def values(self) -> np.ndarray:
        return self.spectrum.values

    @property
    def vectors(self) -> np.ndarray:
        return self.spectrum.vectors

    @property
    def place(self) -> "slice | np.ndarray":
        """``targets``, as a slice where they follow one another: what is indexed by it is then not copied."""
        first, number = int(self.targets[0]), len(self.targets)
        return slice(first, first + number) if int(self.targets[-1]) - first == number - 1 else self.targets

    def parts(self, size: int) -> "list[Background]":
        """The same targets, ``size`` at a time."""
        cuts = [slice(start, start + size) for start in range(0, len(self.targets), size)]
        less = [None if self.cuts is None else self.cuts.chosen(c) for c in cuts]
        return [
            replace(
                self, targets=self.targets[c], own=self.own[c], score=self.score[c], square=self.square[c], cuts=one
            )
            for c, one in zip(cuts, less, strict=True)
        ]

    # -- cells that are left out ----
    @property
    def heard(self) -> np.ndarray:
        """``(row,)`` the targets whose z the likelihood takes one by one: regulators, and all with `Cuts`."""
        return np.arange(len(self.own)) if self.cuts is not None else np.flatnonzero(self.own >= 0)

    def factors(self, h: float) -> CutFactors:
        """Of the ``cuts``, of which there are some."""
        assert self.cuts is not None
        return self.cuts.factors(h, self.values, self.vectors, self.own)

    def cut_rows(self, h: float, stored: Stored | None = None) -> np.ndarray:
        """``(row, tf)`` float32 B at h."""
        if self.cuts is None:
            return np.empty((0, len(self.values)), np.float32)
        if stored is None or stored.flat is None:
            table = self._flat(h)
        else:
            table = np.empty_like(self.cuts.rows)
            interpolate(stored.flat, stored.window.coefficients(h).astype(np.float32), table)
        at = self.factors(h)
        divide_all(self.cuts.start, at.place, at.lower, table)
        return table

    def _flat(self, h: float) -> np.ndarray:
        """``(row, tf)`` float32 A P⁻¹."""
        assert self.cuts is not None, "asked for where there are some"
        shrink = (1 / (1 + h * self.values)).astype(np.float32)
        return (aligned(self.cuts.rows * shrink) @ aligned(self.vectors).T).numpy()

    # -- what w = 0 leaves ----
    def base(self, h: float, flat: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """b̃ ``(index, tf)`` float32 and yᵀ M⁻¹ y ``(index,)`` float64; ``flat`` A P⁻¹ there, if known."""
        shrink = 1 / (1 + h * self.values)
        turned = (aligned(self.score * shrink.astype(np.float32)) @ aligned(self.vectors).T).numpy()
        square = self.square - h * weighed_squares(self.score, shrink)
        if self.cuts is not None:
            flat = self._flat(h) if flat is None else flat
            at = self.factors(h)
            given = (self.cuts.start, self.cuts.rows, shrink, h, at.place, at.lower, flat)
            correct_base(*given, self.score, turned, square)
        return turned, square

    def stored(self, window: Window) -> Stored:
        """`base` at all nodes."""
        nodes = window.nodes.tolist()
        flat = None if self.cuts is None else np.stack([self._flat(h) for h in nodes])
        parts = [self.base(h, None if flat is None else flat[i]) for i, h in enumerate(nodes)]
        return Stored(window, np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts]), flat)

    # -- what weights leave ----
    def residual(
        self, weight: np.ndarray, gram: Gram, out: np.ndarray, stored: Stored | None = None,
        cut: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """``out`` (index, tf) float32 becomes r of weights ``weight`` (index, tf), ``cut`` B if known; returns the
        residual sums of squares with the background integrated out, ``(index,)`` float64."""
        if stored is None:
            out[:], square = self.base(gram.background)
        else:
            coefficients = stored.window.coefficients(gram.background)
            interpolate(stored.score, coefficients.astype(np.float32), out)
            square = coefficients @ stored.square
        if cut is None:
            cut = self.cut_rows(gram.background, stored)
        start = np.zeros(len(out) + 1, np.int64) if self.cuts is None else self.cuts.start
        taken = product(weight, gram.matrix)
        settle(weight, taken, gram.matrix, self.own, gram.correction, start, cut, out, square)
        return square

    def likelihood(self, weight: np.ndarray, noise: np.ndarray) -> "BackgroundLikelihood":
        """Of h, given weights ``weight`` (index, tf) and variances ``noise`` (index,)."""
        z = product(weight, self.vectors)
        given_back = None if self.cuts is None else self.cuts.levels_of(z)
        left_over(self.score, self.values.astype(np.float32), z)
        if self.cuts is not None and given_back is not None:
            add_rows(self.cuts.start, given_back, self.cuts.rows, self.heard, z)
        return self.likelihood_of(sum_of_squares(z, 1 / noise), z[self.heard], noise)

    def likelihood_of(self, total: np.ndarray, z: np.ndarray, noise: np.ndarray) -> "BackgroundLikelihood":
        """From Σ z²/σ² ``total`` (tf,), ``z`` (row, tf) of those that are `heard`, and all ``noise`` (index,)."""
        if self.cuts is None:
            mine = self.heard
            return BackgroundLikelihood(self.spectrum, len(noise), total, self.own[mine], z, noise[mine])
        more = CutLikelihood(self.cuts, self.values, self.vectors, self.own, z, noise)
        return BackgroundLikelihood(self.spectrum, len(noise), total, self.own[:0], z[:0], noise[:0], (more,))

    def log_determinant(self, h: float) -> float:
        """−½ log|M|, of all targets together."""
        mine = self.own[self.own >= 0]
        whole = len(self.targets) * np.log1p(h * self.values).sum()
        if self.cuts is not None:
            at = self.factors(h)
            return float(-0.5 * (whole + at.log_det.sum() + np.log(at.left).sum()))
        return float(-0.5 * (whole + np.log(self.spectrum.left(h)[mine]).sum()))

    def draw(self, residual: np.ndarray, noise: np.ndarray, h: float, generator: torch.Generator) -> np.ndarray:
        """``(index, tf)`` float32: u given the weights, of which ``residual`` is r and ``noise`` (index,) σ²."""
        gaussian = torch.randn(residual.shape, generator=generator)
        vectors = aligned(self.vectors)
        shrink = 1 / (1 + h * self.values)
        gaussian *= torch.from_numpy((h * shrink).astype(np.float32)).sqrt()
        drawn = (gaussian @ vectors.T).numpy() * np.sqrt(noise)[:, None].astype(np.float32)
        cut = self.cut_rows(h)
        if self.cuts is not None:
            apart = torch.randn(len(cut), generator=generator).numpy() * h
            sd = np.repeat(np.sqrt(noise), np.diff(self.cuts.start))
            add_rows(self.cuts.start, apart * sd, cut, self.heard, drawn)
        mine = np.flatnonzero(self.own >= 0)
        if len(mine):  # given that the background of the target itself is zero
            at = self.own[mine]
            column = (aligned(self.vectors[at] * shrink.astype(np.float32)) @ vectors.T).numpy()
            left = weighed_squares(self.vectors[at], shrink).astype(np.float32)  # `Spectrum.left` of these
            if self.cuts is not None:
                made = self.factors(h)
                left = made.left[mine].astype(np.float32)
                add_rows(self.cuts.start, h * made.turned, cut, mine, column)
            drawn[mine] -= (drawn[mine, at] / left)[:, None] * column
        drawn += np.float32(h) * residual
        drawn[mine, self.own[mine]] = 0.0
        return drawn


@dataclass(frozen=True, eq=False)
class BackgroundLikelihood:
    """log p(y | w, σ², h) as a function of h: ``spectrum`` of G; ``count`` targets; ``total`` (tf,) Σ z²/σ²; of targets
    that are regulators ``own`` (row,) which, ``z`` (row, tf), and their ``noise`` (row,); ``more`` of those with cells
    that are left out, regulators or not."""

    spectrum: Spectrum
    count: int
    total: np.ndarray
    own: np.ndarray
    z: np.ndarray
    noise: np.ndarray
    more: tuple[CutLikelihood, ...] = ()

    @classmethod
    def joined(cls, parts: "Sequence[BackgroundLikelihood]") -> "list[BackgroundLikelihood]":
        """One of all parts that have the same eigenvalues; in their order wherever they come from."""
        groups: dict[int, list[BackgroundLikelihood]] = {}
        for part in parts:
            groups.setdefault(id(part.spectrum), []).append(part)
        found = []
        for some in groups.values():
            several = lambda name, some=some: np.concatenate([getattr(part, name) for part in some])
            total, count = np.sum([part.total for part in some], axis=0), sum(part.count for part in some)
            more = tuple(one for part in some for one in part.more)
            found.append(cls(some[0].spectrum, count, total, several("own"), several("z"), several("noise"), more))
        return found

    @property
    def heard(self) -> np.ndarray:
        """``(row, tf)`` z of the targets that are heard one by one (`Background.heard`), of one group."""
        return self.more[0].z if self.more else self.z

    def __call__(self, h: np.ndarray) -> np.ndarray:
        """``(value,)`` at h (value,), up to what does not depend on h."""
        shrink = 1 / (1 + h[:, None] * self.spectrum.values)
        left, level = (shrink @ part.T for part in self._parts)
        found = self._sum(h, shrink, left, level)
        for part in self.more:
            found += part(h)
        return found

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """``(row, tf)`` float64: of what the regulators' own levels are sums, weighed by how much each is shrunk."""
        vectors = self.spectrum.vectors[self.own].astype(np.float64)
        return vectors**2, vectors * self.z

    def _sum(self, h: np.ndarray, shrink: np.ndarray, left: np.ndarray, level: np.ndarray) -> np.ndarray:
        found = 0.5 * (self.count * np.log(shrink).sum(1) + h * (shrink @ self.total))
        if len(self.noise):
            found -= 0.5 * (np.log(left) + h[:, None] / left * level**2 / self.noise).sum(1)
        return np.where(np.isfinite(found), found, -math.inf)

    def around(self, h: float) -> Callable[[np.ndarray], np.ndarray]:
        """The same, quicker within a factor of five of ``h``: targets that are regulators are interpolated there, a
        value costs their number and not that times the number of regulators; ``more`` all together, if finite."""
        if len(self.noise) == 0 and not self.more:
            return self
        middle = GRID * round(math.log(h) / GRID)
        window = Window(middle - HALF, middle + HALF, 0.0, CLOSE)
        values = self.spectrum.values
        left = np.stack([self.spectrum.left(node)[self.own] for node in window.nodes.tolist()])  # (node, row)
        shrinks = np.ascontiguousarray(1 / (1 + values[:, None] * window.nodes))  # (tf, node)
        level = levels_at(self.spectrum.vectors, self.own, self.z, shrinks).T
        rest = np.zeros(len(window.nodes)) + sum(part(window.nodes) for part in self.more)
        if not np.isfinite(rest).all():
            return self

        def found(at: np.ndarray) -> np.ndarray:
            near = window.holds(at)
            result = np.empty(len(at))
            some, part = at[near], window.coefficients(at[near])
            result[near] = self._sum(some, 1 / (1 + some[:, None] * values), part @ left, part @ level) + part @ rest
            if not near.all():
                result[~near] = self(at[~near])
            return result

        return found
