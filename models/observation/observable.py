"""`Observable`: distributions of data whose density can be worked out where they are made."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

_asked: ContextVar[bool] = ContextVar("densities_of_data_are_asked_for", default=True)


@contextmanager
def densities_not_asked() -> Iterator[None]:
    """Within it `Observable.at` works out nothing beforehand: for traces of which nobody asks the likelihood, as draws
    from the prior."""
    before = _asked.set(False)
    try:
        yield
    finally:
        _asked.reset(before)


class Observable(TorchDistribution):
    """A distribution that may be told beforehand at which value its density will be asked for.

    Autograd adds the parts of a gradient up in the order in which they were evaluated, and sums in float32 depend on
    it. A trace evaluates its sites at the end, in their order; with `at` the data come first, so that where X stands in
    a trace moves no digit of a sampler that follows gradients.
    """

    _known: tuple[Tensor, bool, Tensor] | None = None

    def at(self, value: Tensor) -> Self:
        """Itself; the next `log_prob` of the same tensor is known already. Once, as a graph has one backward pass."""
        if _asked.get():
            self._known = value, torch.is_grad_enabled(), self.density(value)
        return self

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of a value; see `density`."""
        known, self._known = self._known, None
        if known is not None and known[0] is value and known[1] == torch.is_grad_enabled():
            return known[2]
        return self.density(value)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TorchDistribution:
        """Itself where the shape is its own, as every plate asks for; else as any distribution, or as `expanded`."""
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        found = self.expanded(batch_shape)
        return super().expand(batch_shape, _instance) if found is None else found

    def expanded(self, batch_shape: torch.Size) -> TorchDistribution | None:
        """Of expanded parameters, or ``None`` where they cannot be expanded so."""
        return None

    @abstractmethod
    def density(self, value: Tensor) -> Tensor:
        """The log density."""
