"""`GaussianBlock`: the exact conditional of a site that is Gaussian given all others."""

from abc import ABC, abstractmethod

from torch import Tensor


class GaussianBlock(ABC):
    """Independent Gaussians over blocks of a site.

    The site is laid out ``(*batch, row, column)``: one block a column, over its rows.
    """

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """``(*batch, column, row)``."""

    @property
    @abstractmethod
    def log_root(self) -> Tensor:
        """``(*batch, column, row)`` logarithm of the diagonal of `factor`, for less time and memory than all of it."""

    @property
    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """`mean` and `factor`, solved together."""

    @property
    def factor(self) -> Tensor:
        """``(*batch, column, row, row)`` lower Cholesky factor L of each precision."""
        return self.moments[1]

    @abstractmethod
    def draw(self, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""A reparameterised draw ``(*batch, row, column)``, mean :math:`+ L^{-\top} z`, and its log density ``(*batch,
        column)``.

        Parameters
        ----------
        noise
            ``(*batch, column, row)`` standard normal z; default a new one from torch's generator.
        """
