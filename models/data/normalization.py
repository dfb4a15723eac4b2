"""Normalisations by name, applied to each block of rows as it is read."""

from typing import Protocol

import torch
from torch import Tensor

from .checks import counted, some
from .matrix import RowTransform

NORMALIZATIONS = ("none", "log1p-cpm", "zscore")


class Normalizable(Protocol):
    """What a normalisation reads of the data."""

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the genes."""

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the kinds of measurement."""

    def moments(self) -> tuple[Tensor, Tensor]:
        """``(gene,)`` mean and variance over all cells."""


def check_normalization(how: str) -> None:
    """Refuse a name that is none of `NORMALIZATIONS`."""
    if how not in NORMALIZATIONS:
        raise ValueError(f"unknown normalisation {how!r}: choose one of {', '.join(NORMALIZATIONS)}")


def transform_of(data: Normalizable, how: str) -> RowTransform:
    """``log1p-cpm`` or ``zscore`` as a function of a block; the second takes one pass over the cells.

    Raises
    ------
    ValueError
        ``log1p-cpm`` of several views; ``zscore`` of constant genes.
    """
    if how == "log1p-cpm":
        if len(data.view_names) > 1:
            raise ValueError(
                f"log1p-cpm is for one view and there are {len(data.view_names)} ({some(data.view_names)}): normalise "
                "each modality before they are joined"
            )
        return log1p_cpm
    mean, variance = data.moments()
    constant = [g for g, v in zip(data.genes, variance.tolist(), strict=True) if v == 0]
    if constant:
        raise ValueError(
            f"{counted(constant, 'constant gene')} cannot be z-scored: {some(constant)}. Drop them with "
            "`data.without_constant_genes()`"
        )
    return Affine(mean, variance.sqrt())


def log1p_cpm(block: Tensor) -> Tensor:
    """``log(1 + 10⁶ x_cg / Σ_g x_cg)`` for a ``(cell, gene)`` block of counts; cells without counts stay at zero.

    NaN stay NaN; the sum is over what is there.
    """
    if bool((block < 0).any()):
        raise ValueError(
            "log1p-cpm needs counts, found a negative value "
            f"({block.min().item():g}): pass raw counts with `layer`, or "
            "use normalize 'none' or 'zscore' for data that are already transformed"
        )
    total = block.nansum(dim=1, keepdim=True)
    scaled = 1e6 * block
    return scaled.div_(total.clamp_min(torch.finfo(block.dtype).tiny)).log1p_()


class Affine:
    """``(x − mean) / sd`` by gene: the z-score transformation, with moments taken once over all cells."""

    def __init__(self, mean: Tensor, sd: Tensor) -> None:
        self.mean, self.sd = mean, sd

    def __call__(self, block: Tensor) -> Tensor:
        return (block - self.mean.to(block)) / self.sd.to(block)
