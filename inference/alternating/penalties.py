"""What a network costs beside its error."""

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Penalties:
    r"""What a network costs, per standardised weight (source levels in standard deviations, drive in logits):

    .. math:: \tfrac\lambda2\sum k_{ji} W_{ji}^2 + s\sum k_{ji}|W_{ji}| + \tfrac o4\|W^\top W - I\circ W^\top W\|_F^2,
              \qquad k_{ji} = r^{1 - C_{ji}}

    beside half the squared error of the drive.

    Parameters
    ----------
    ridge
        λ. Default ``None``: least leave-one-condition-out error at the starting gains. A panel has about as many
        conditions as genes, so that no ridge at all reproduces it, noise included.
    sparsity
        s, in the units of :math:`\tilde X^\top y`. Default 0.
    orthogonality
        o, which pulls the columns of W (inputs of different targets) apart. Default 0.
    prior
        ``(gene, gene)`` confidence C in [0, 1] that source regulates target; ``None`` for no preference.
    prior_strength
        r: how many times dearer an edge with confidence 0 is than one with confidence 1. Default 10.

    Raises
    ------
    ValueError
        Negative or non-finite values, a ridge of 0, confidences outside [0, 1], a strength below 1.
    """

    ridge: float | None = None
    sparsity: float = 0.0
    orthogonality: float = 0.0
    prior: Tensor | None = None
    prior_strength: float = 10.0

    def __post_init__(self) -> None:
        if self.ridge is not None and not 0 < self.ridge < float("inf"):
            raise ValueError(f"ridge={self.ridge}: expected a positive number, or None to choose it from the data")
        for name in ("sparsity", "orthogonality"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: expected a number of 0 or more")
        if not 1 <= self.prior_strength < float("inf"):
            raise ValueError(f"prior_strength={self.prior_strength}: expected 1 or more")
        if self.prior is not None and not bool(((self.prior >= 0) & (self.prior <= 1)).all()):
            raise ValueError("`prior` has confidences outside [0, 1] or missing: expected (gene, gene) in [0, 1]")

    @property
    def only_ridge(self) -> bool:
        """Whether the network has a closed form."""
        return self.sparsity == 0 and self.orthogonality == 0 and self.prior is None

    @property
    def chosen(self) -> float:
        """The ridge, where it is given or `alternate` has chosen it; ``ValueError`` before."""
        if self.ridge is None:
            raise ValueError("`ridge` is None: expected the number that `alternate` has chosen, `solution.penalties`")
        return self.ridge

    def factor(self, like: Tensor) -> Tensor:
        """k, ``(gene, gene)``, or a one."""
        if self.prior is None:
            return like.new_ones(())
        if self.prior.shape != like.shape:
            raise ValueError(f"`prior` is {tuple(self.prior.shape)}: expected {tuple(like.shape)}, (source, target)")
        return self.prior_strength ** (1 - self.prior.to(like))

    def cost(self, W: Tensor) -> Tensor:
        """Scalar: of standardised weights ``W`` (gene, gene)."""
        factor = self.factor(W)
        value = 0.5 * self.chosen * (factor * W.square()).sum()
        if self.sparsity:
            value = value + self.sparsity * (factor * W.abs()).sum()
        if self.orthogonality:
            # ¼‖off-diagonal WᵀW‖² is a quarter of W · its gradient
            value = value + 0.25 * self.orthogonality * (W * orthogonality_gradient(W)).sum()
        return value

    def over(self, number: float) -> "Penalties":
        """The same, divided."""
        return replace(
            self,
            ridge=self.chosen / number,
            sparsity=self.sparsity / number,
            orthogonality=self.orthogonality / number,
        )


def orthogonality_gradient(W: Tensor) -> Tensor:
    r"""Gradient of :math:`\tfrac14\|W^\top W - I\circ W^\top W\|_F^2`, ``(gene, gene)``."""
    overlap = W.T @ W
    overlap.fill_diagonal_(0.0)
    return W @ overlap
