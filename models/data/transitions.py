r"""`Transitions`: time courses as pairs of consecutive measurements, what a differential equation is trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .checks import some
from .expression import ExpressionData


@dataclass(frozen=True, eq=False)
class Transitions:
    r"""Pairs :math:`g(t_k) \to g(t_{k+1})` of trajectories, all of one table.

    Parameters
    ----------
    start, stop
        ``(pair, gene)`` expression at both ends, without NaN.
    dt
        ``(pair,)`` positive time between them, in the unit of the data.
    observed
        ``(pair, gene)`` bool: False where ``stop`` was not measured and must not enter a loss.
    trajectory
        ``(pair,)`` integer codes into ``names``.
    names
        Names of the trajectories.
    genes
        Names of the columns.
    notes
        What was filled in or dropped on the way here.

    Raises
    ------
    ValueError
        Shapes that disagree, values that are not finite, ``dt`` that is not positive.

    Examples
    --------
    >>> X = torch.tensor([[0.0], [1.0], [3.0]])
    >>> Transitions.from_arrays(X, [2.0, 0.0, 1.0], ["a", "a", "a"], genes=["G"]).dt
    tensor([1., 1.])
    """

    start: Tensor
    stop: Tensor
    dt: Tensor
    observed: Tensor
    trajectory: Tensor
    names: tuple[str, ...]
    genes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.dt), len(self.genes))
        for name in ("start", "stop", "observed"):
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"`{name}` has shape {found}, expected {shape}: (pairs, genes)")
        if tuple(self.trajectory.shape) != shape[:1] or not shape[0]:
            raise ValueError(
                f"{shape[0]} pairs and `trajectory` of shape {tuple(self.trajectory.shape)}: expected one code a pair, "
                "and at least one pair"
            )
        if not bool((self.dt > 0).all()):
            raise ValueError(f"`dt` has the value {self.dt.min().item():g}: times must increase along a trajectory")
        if not bool(torch.isfinite(self.start).all() and torch.isfinite(self.stop).all()):
            raise ValueError("`start` or `stop` is not finite: make transitions with from_arrays(), which fills gaps")

    @classmethod
    def from_arrays(
        cls,
        X: Tensor,
        time: Sequence[float] | np.ndarray,
        trajectory: Sequence[object] | np.ndarray,
        *,
        genes: Sequence[str],
    ) -> "Transitions":
        """Pairs of consecutive times of every trajectory; rows may come in any order, lengths may differ.

        A value that is missing (NaN) at the end of a pair is left out of the loss. At the start of a pair it is filled
        with the last value of that gene in that trajectory: interpolation would bring in the later value, which is the
        target. Before the first value of a trajectory it is the gene's mean over all rows.

        Parameters
        ----------
        X
            ``(row, gene)``; NaN are missing values.
        time, trajectory
            ``(row,)`` each: when, and of which trajectory.
        genes
            Names of the columns.

        Raises
        ------
        ValueError
            Times or trajectories that are missing, infinite or do not match the rows, a time that a trajectory has
            twice, no trajectory with two times, a gene without any value.
        """
        when = np.asarray(time, dtype=float)
        if X.ndim != 2 or X.shape[1] != len(genes):
            raise ValueError(f"X has shape {tuple(X.shape)}, expected (rows, {len(genes)}): one column a gene")
        if when.shape != (len(X),) or len(trajectory) != len(X):
            raise ValueError(f"{len(X)} rows, times of shape {when.shape}, {len(trajectory)} trajectories: one a row")
        if not np.isfinite(when).all():
            raise ValueError(f"{int((~np.isfinite(when)).sum())} times are NaN or infinite: drop those rows")
        labels = np.asarray([str(t) for t in trajectory])
        if bool(torch.isinf(X).any()):
            raise ValueError("X has infinite values: set them to NaN if they are missing")
        known = ~torch.isnan(X)
        if not bool(known.any(0).all()):
            empty = [g for g, k in zip(genes, known.any(0).tolist(), strict=True) if not k]
            raise ValueError(f"{len(empty)} genes have no value at all: {some(empty)}. Drop them")
        mean = torch.nan_to_num(X).sum(0) / known.sum(0)
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor, int]] = []
        names: list[str] = []
        short: list[str] = []
        filled = 0
        for label in dict.fromkeys(labels.tolist()):
            rows = np.flatnonzero(labels == label)
            rows = rows[np.argsort(when[rows], kind="stable")]
            gaps = np.diff(when[rows])
            if (gaps == 0).any():
                twice = when[rows][:-1][gaps == 0][0]
                raise ValueError(
                    f"trajectory {label!r} has time {twice:g} more than once: average replicates, or name them as "
                    "different trajectories"
                )
            if len(rows) < 2:
                short.append(label)
                continue
            values, has = X[rows], known[rows]
            carried = _carry_forward(values, has, mean)
            filled += int((~has[:-1]).sum())
            parts.append((carried[:-1], carried[1:], torch.as_tensor(gaps), has[1:], len(names)))
            names.append(label)
        if not parts:
            raise ValueError(f"no trajectory has more than one time point ({len(X)} rows): dynamics need at least two")
        notes = []
        if short:
            notes.append(f"{len(short)} trajectories of a single time point left out: {some(short)}")
        if filled:
            notes.append(f"{filled} missing starting values filled with the last value before them")
        code = torch.cat([torch.full((len(p[0]),), p[4], device=X.device) for p in parts])
        return cls(
            torch.cat([p[0] for p in parts]),
            torch.cat([p[1] for p in parts]),
            torch.cat([p[2] for p in parts]).to(X),
            torch.cat([p[3] for p in parts]),
            code,
            tuple(names),
            tuple(genes),
            tuple(notes),
        )

    @classmethod
    def from_data(cls, data: ExpressionData) -> "Transitions":
        """Of cells that have times (`ExpressionData.with_times`); see `from_arrays`. NaN pass where ``data.missing``.

        Raises
        ------
        ValueError
            Data without times, and as `from_arrays`.
        """
        if data.time is None or data.trajectory is None:
            raise ValueError("the data have no times: give them with `data.with_times(time, trajectory)`")
        names = [data.trajectory_names[code] for code in data.trajectory.tolist()]
        return cls.from_arrays(data.X, data.time.cpu().numpy(), names, genes=data.genes)

    # -- sizes ----
    @property
    def num_pairs(self) -> int:
        return len(self.dt)

    @property
    def num_genes(self) -> int:
        return len(self.genes)

    # -- parts ----
    def rows(self, chosen: Tensor) -> "Transitions":
        """The pairs at these positions (or of this mask)."""
        return replace(
            self,
            start=self.start[chosen],
            stop=self.stop[chosen],
            dt=self.dt[chosen],
            observed=self.observed[chosen],
            trajectory=self.trajectory[chosen],
        )

    def split(self, trajectories: Sequence[str]) -> tuple["Transitions", "Transitions"]:
        """Those of the named trajectories, and the rest.

        Raises
        ------
        ValueError
            An unknown name, or one part would be empty.
        """
        unknown = sorted(set(map(str, trajectories)) - set(self.names))
        if unknown:
            raise ValueError(
                f"{len(unknown)} trajectories are not in the data: {some(unknown)}; have {some(self.names)}"
            )
        wanted = {self.names.index(str(t)) for t in trajectories}
        chosen = torch.tensor([int(c) in wanted for c in self.trajectory.tolist()], device=self.dt.device)
        if bool(chosen.all()) or not bool(chosen.any()):
            raise ValueError(f"{len(wanted)} of {len(self.names)} trajectories chosen: both parts need at least one")
        return self.rows(chosen), self.rows(~chosen)

    def folds(self, number: int, *, seed: int = 0) -> Iterator[tuple["Transitions", "Transitions"]]:
        """``(training, held out)`` for K-fold cross-validation over whole trajectories, in random order.

        Raises
        ------
        ValueError
            Fewer trajectories than folds.
        """
        present = self.trajectory.unique()
        if not 2 <= number <= len(present):
            raise ValueError(f"{number} folds of {len(present)} trajectories: expected 2 to {len(present)}")
        order = present[torch.randperm(len(present), generator=torch.Generator().manual_seed(seed))]
        for held in order.chunk(number):
            out = torch.isin(self.trajectory, held)
            yield self.rows(~out), self.rows(out)

    def minibatches(self, size: int, generator: torch.Generator | None = None) -> Iterator["Transitions"]:
        """One pass in random order, all pairs of ``size`` trajectories at a time (the last may be fewer)."""
        for rows in self.batches(size, generator):
            yield self if rows is None else self.rows(rows)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Tensor | None]:
        """Positions of the pairs of `minibatches`; ``None`` is all of them."""
        present, place = self.trajectory.unique(return_inverse=True)
        if size >= len(present):
            yield None
            return
        rank = torch.randperm(len(present), generator=generator).to(place.device)[place] // size
        for batch in range(-(-len(present) // size)):
            yield torch.nonzero(rank == batch)[:, 0]

    def apart(self) -> "Transitions":
        """Each pair as a trajectory of its own, so that minibatches, splits and folds are of pairs."""
        number = self.num_pairs
        code = torch.arange(number, device=self.dt.device)
        return replace(self, trajectory=code, names=tuple(f"pair {i}" for i in range(number)))

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> "Transitions":
        """The same on another device, or in another floating type."""
        values = {n: getattr(self, n).to(device=device, dtype=dtype) for n in ("start", "stop", "dt")}
        return replace(self, observed=self.observed.to(device), trajectory=self.trajectory.to(device), **values)


def _carry_forward(values: Tensor, known: Tensor, first: Tensor) -> Tensor:
    """``(time, gene)`` with gaps filled by the last value before them; ``first`` before there is one."""
    result, last = [], first
    for row, has in zip(values, known, strict=True):
        last = torch.where(has, row, last)
        result.append(last)
    return torch.stack(result)
