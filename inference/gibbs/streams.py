"""Random numbers of one generator, or of several that each fill their own part of a tensor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Streams:
    """Generators of fits that run as one tensor program: each draws what it would have drawn alone, in the same order.

    A tensor of draws is cut evenly along one axis, and each generator fills its part.
    """

    generators: tuple[torch.Generator, ...]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int], device: torch.device) -> "Streams":
        """One generator a seed."""
        return cls(tuple(torch.Generator(device=device).manual_seed(seed) for seed in seeds))


Source = torch.Generator | Streams


def uniform(shape: Sequence[int], source: Source, like: Tensor, *, axis: int = 0) -> Tensor:
    """Uniform draws in the device and dtype of ``like``; of `Streams`, in parts along ``axis``."""
    return _draw(torch.rand, shape, source, like, axis)


def normal(shape: Sequence[int], source: Source, like: Tensor, *, axis: int = 0) -> Tensor:
    """Standard normal draws; as `uniform`."""
    return _draw(torch.randn, shape, source, like, axis)


def standard_gamma(concentration: Tensor, source: Source, *, axis: int = 0) -> Tensor:
    """Gamma draws of rate one; as `uniform`."""
    if isinstance(source, torch.Generator):
        return torch._standard_gamma(concentration.contiguous(), generator=source)
    parts = concentration.chunk(len(source.generators), axis)
    pairs = zip(parts, source.generators, strict=True)
    return torch.cat([torch._standard_gamma(part.contiguous(), generator=g) for part, g in pairs], axis)


def _draw(function: Callable[..., Tensor], shape: Sequence[int], source: Source, like: Tensor, axis: int) -> Tensor:
    if isinstance(source, torch.Generator):
        return function(shape, generator=source, device=like.device, dtype=like.dtype)
    count = len(source.generators)
    part = [*shape[:axis], shape[axis] // count, *shape[axis + 1 :]]
    out = torch.empty((count, *part), device=like.device, dtype=like.dtype)
    for piece, generator in zip(out, source.generators, strict=True):
        function(part, generator=generator, out=piece)
    return out.movedim(0, axis).flatten(axis, axis + 1)
