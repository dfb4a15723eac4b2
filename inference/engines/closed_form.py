r"""Probabilistic PCA in closed form, after an ordinary regression on the covariates."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ...models import ExpressionData, Model
from ...models.factor import FactorModel
from ...models.ppca import PPCA, PPCASolution
from ..draws.moments import Collector, add_draw
from ..factors.alignment import standard
from ..lookup import along_bases
from ..runs.history import History
from ..runs.run import Run
from .base import Engine


@dataclass(frozen=True)
class ClosedForm(Engine):
    r"""The maximum of the likelihood of `PPCA`, whatever its prior: a point, without uncertainty.

    .. math:: \hat\beta = (Z^\top Z)^{-1} Z^\top Y, \qquad
              \hat W = (\Lambda_m - \hat\sigma^2 I)^{1/2} U_m^\top \ \text{of the covariance of}\ Y - Z\hat\beta

    (Tipping & Bishop 1999, eq. 7-8). With covariates this is the poster's reading of MuVI in two steps, least squares
    and then PPCA of what is left, and it is the maximum of their joint likelihood too: rows of one covariance have
    generalised least squares equal to ordinary. What two steps cannot do is let a covariate act *through* a factor:
    a model with covariates is made with ``factor_effects=False``, and :math:`\hat\beta` holds all that a covariate
    does.

    There is nothing to choose, to draw or to start from: one restart and one draw, whatever `fit` is asked for.
    """

    name = "closed-form"
    calibrated = False
    point: ClassVar[bool] = True
    quick_start: ClassVar[bool] = True
    minibatches: ClassVar[bool] = False

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        started = time.monotonic()
        solution = solved(model)
        one = model.constant.new_ones(1)
        sites = {
            "W": standard(cast(FactorModel, model), solution.W.cpu())[None],
            "noise_variance": one * solution.noise_variance,
        }
        if solution.beta is not None:
            sites["beta"] = solution.beta[None]
        collector = Collector(model, 1, 1, has_inclusion=False)
        add_draw(model, collector, {name: value.to(one) for name, value in sites.items()}, run.threshold)
        log_likelihood = one.new_tensor([[solution.log_likelihood]]).cpu().numpy()
        return collector, History.every_step("converged", log_likelihood, time.monotonic() - started)

    def num_bytes(self, model: Model, run: Run) -> float:
        return 4.0 * 8 * len(model.coords["gene"]) ** 2  # covariance, residuals, eigenvectors, and where they are found


CLOSED_FORMS: dict[type, Callable[[Any], PPCASolution]] = {PPCA: lambda model: model.maximum_likelihood(regress=True)}
"""What has a closed form, by class of model."""


def solved(model: Model) -> PPCASolution:
    """The closed form of ``model``.

    Raises
    ------
    ValueError
        It has none: another model, factors that are not integrated out, covariates that act through them, or a scale
        to learn for each; with what to do.
    """
    solve = along_bases(CLOSED_FORMS, type(model))
    if solve is None:
        raise ValueError(f"ClosedForm is for PPCA, not for {type(model).__name__}: use Blocked")
    if not model.integrated:
        raise ValueError("the closed form has its factors integrated out: leave out `integrate=False`")
    if "gamma" in model.dims:
        raise ValueError("the closed form has no effects of covariates on programs: pass `factor_effects=False`")
    if "delta" in model.dims:
        raise ValueError("the closed form has no scale to learn for each factor: use NormalLoading() or Blocked")
    return solve(model)
