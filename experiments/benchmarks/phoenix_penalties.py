"""Sparsifiers with a strength to choose, and the strengths that are tried: least validation error decides (B.9.3)."""

from collections.abc import Sequence

from ...inference.pruning import CNODE, HardConcrete, PathReg, Sparsifier

STRENGTHS: dict[str, list[tuple[float, ...]]] = {
    "L0": [(1e-3,), (1e-2,)],
    "C-NODE": [(1e-3,), (1e-2,)],
    "PathReg": [(1e-4, 1e-3), (1e-4, 1e-2), (1e-3, 1e-3)],
}


def penalty(method: str, strength: Sequence[float]) -> Sparsifier:
    """L0 (λ₀), C-NODE (λ₁), PathReg (λ₀, λ₁)."""
    if method == "PathReg":
        return PathReg(strength=strength[0], weight_strength=strength[1])
    return HardConcrete(strength=strength[0]) if method == "L0" else CNODE(strength=strength[0])


def trial(method: str, strength: Sequence[float]) -> str:
    """The name of a training that chooses a strength."""
    return f"{method}, choice: {', '.join(f'{s:g}' for s in strength)}"
