r"""When and how much to prune."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A large share at one epoch, then a small share of what is left at every multiple of ``every``.

    Parameters
    ----------
    first_epoch, first
        Epoch of the first pruning and the share of weights that goes; default 70% at epoch 3, the paper's for SIM350,
        SIM690 and bone marrow (B.2.3). Breast cancer: ``Schedule(10, 0.9, every=20)``.
    every, share
        Later, 10% of the weights that are left at every tenth epoch.
    last_epoch
        None later than this. Default: none set; training ends by itself when sparser models get worse.

    Raises
    ------
    ValueError
        Epochs below 1, shares outside [0, 1).

    Examples
    --------
    >>> [Schedule().amount(epoch) for epoch in (2, 3, 10, 11)]
    [0.0, 0.7, 0.1, 0.0]
    """

    first_epoch: int = 3
    first: float = 0.7
    every: int = 10
    share: float = 0.1
    last_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.first_epoch < 1 or self.every < 1 or (self.last_epoch is not None and self.last_epoch < 1):
            raise ValueError(f"{self}: expected epochs of at least 1")
        if not (0 <= self.first < 1 and 0 <= self.share < 1):
            raise ValueError(f"{self}: expected shares of at least 0 and below 1")

    def amount(self, epoch: int) -> float:
        """Share of the remaining weights to prune before this epoch."""
        if epoch == self.first_epoch:
            return self.first
        late = self.last_epoch is not None and epoch > self.last_epoch
        return self.share if epoch > self.first_epoch and epoch % self.every == 0 and not late else 0.0

    def remaining(self, epoch: int) -> float:
        """Share of the weights that is left in this epoch."""
        left = 1.0
        for e in range(1, epoch + 1):
            left *= 1 - self.amount(e)
        return left
