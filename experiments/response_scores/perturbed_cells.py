"""`PerturbedCells`: cells in which one gene was perturbed, or none, as the scores of responses need them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...models import ExpressionData
from ...priors.perturbation_labels import read_labels
from ...priors.perturbation_words import CONTROLS


@dataclass(frozen=True, eq=False)
class PerturbedCells:
    """Levels of genes in controls and in cells with one gene perturbed.

    Attributes
    ----------
    levels
        ``(cell, gene)`` float64: levels minus the mean of the controls, over the sd of all cells (one unit for all
        genes, or a few loud genes would decide every score).
    genes
        ``(gene,)`` names.
    conditions
        ``(condition,)`` names of the perturbed genes, measured or not; controls are no condition.
    condition
        ``(cell,)`` position in ``conditions``, -1 in controls.
    group
        ``(cell,)`` replicate, 0 … number − 1.
    left_out
        Cells left out: several genes perturbed, or nobody knows which.
    """

    levels: np.ndarray
    genes: tuple[str, ...]
    conditions: tuple[str, ...]
    condition: np.ndarray
    group: np.ndarray
    left_out: int = 0

    @classmethod
    def of(
        cls,
        data: ExpressionData,
        perturbed: Sequence[object],
        *,
        groups: Sequence[object] | None = None,
        controls: Collection[str] = CONTROLS,
    ) -> "PerturbedCells":
        """From expression, one label a cell of what was perturbed (as everywhere: a gene, a guide of it, a control),
        and the replicate of each cell (default: all are one).

        ``controls`` are labels of cells in which nothing was perturbed, upper and lower case alike. Default: the usual
        ones (``non-targeting``, ``NTC``, ``ctrl``, …).

        Raises
        ------
        ValueError
            Another number of labels than cells, no control cell, no cell with one perturbed gene, no gene that varies.
        """
        for name, labels in (("labels of perturbations", perturbed), ("replicates", groups)):
            if labels is not None and len(labels) != data.num_cells:
                raise ValueError(f"{len(labels)} {name} for {data.num_cells} cells: pass one a cell")
        read = read_labels(perturbed, data.genes, controls=controls, unmeasured=True)
        number = np.array([len(genes) for genes in read.genes])
        used = read.known & (number <= 1)
        names = sorted({genes[0] for genes, use in zip(read.genes, used, strict=True) if use and genes})
        place = {name: i for i, name in enumerate(names)}
        condition = np.array([place[genes[0]] if len(genes) == 1 else -1 for genes in read.genes])
        if not names or not (used & (number == 0)).any():
            raise ValueError(
                f"{len(names)} perturbed genes and {int((used & (number == 0)).sum())} control cells: scores of "
                "responses need both: choose the column that names them, and name the label of cells in which nothing "
                "was perturbed, `controls=`"
            )
        levels = data.X.numpy(force=True).astype(np.float64)[used]
        condition = condition[used]
        scale = levels.std(0)
        varying = scale > 1e-9 * (np.abs(levels).max(0) + 1e-300)
        if not varying.any():
            raise ValueError("no gene varies between cells: take another layer, or the levels before they were scaled")
        levels = (levels - levels[condition < 0].mean(0))[:, varying] / scale[varying]
        kept = tuple(gene for gene, varies in zip(data.genes, varying, strict=True) if varies)
        replicate = np.zeros(data.num_cells) if groups is None else np.array([str(one) for one in groups], dtype=object)
        codes = np.unique(replicate[used], return_inverse=True)[1]
        return cls(levels, kept, tuple(names), condition, codes, int((~used).sum()))

    @cached_property
    def position(self) -> dict[str, int]:
        """Where each gene is among ``genes``."""
        return {gene: i for i, gene in enumerate(self.genes)}

    @cached_property
    def own(self) -> np.ndarray:
        """``(condition,)`` position of the perturbed gene among ``genes``, -1 where it is not measured."""
        return np.array([self.position.get(name, -1) for name in self.conditions])

    @cached_property
    def responses(self) -> np.ndarray:
        """``(condition, gene)`` mean of the condition's cells minus the mean of the controls."""
        return self.means(np.ones(len(self.levels), dtype=bool))

    def means(self, cells: np.ndarray) -> np.ndarray:
        """``(condition, gene)`` of `responses` among some ``(cell,)`` cells; NaN where a condition has none there."""
        found = np.full((len(self.conditions), len(self.genes)), np.nan)
        still = self.levels[cells & (self.condition < 0)]
        if not len(still):
            return found
        for place in range(len(self.conditions)):
            chosen = self.levels[cells & (self.condition == place)]
            if len(chosen):
                found[place] = chosen.mean(0) - still.mean(0)
        return found

    def folds(self, number: int, seed: int) -> np.ndarray:
        """``(cell,)`` folds in which every condition, and the controls, are spread evenly."""
        generator, fold = np.random.default_rng(seed), np.empty(len(self.levels), dtype=int)
        for place in range(-1, len(self.conditions)):
            cells = np.flatnonzero(self.condition == place)
            fold[generator.permutation(cells)] = (np.arange(len(cells)) + generator.integers(number)) % number
        return fold
