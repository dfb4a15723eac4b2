"""`Answers`: what the fit of a model can be asked, and how it refuses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import numpy as np
import pandas as pd

from ...models import ExpressionData, Model
from ..checks import Check
from ..draws.fitted import PosteriorLike
from ..draws.intervals import LEVEL
from .results import CellPredictions, Course, Fluctuations

COVERAGE_RANGE = (0.85, 0.95)  # of intervals of 90% over a thousand values that the model did not follow one by one

M = TypeVar("M", bound=Model)
Scores = tuple[pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True)
class Intervention:
    """What is done in one condition: ``levels`` of clamped genes (None: zero), genes of ``knockdown`` brought down as
    the panel does it, and doses of ``inputs`` by node."""

    levels: Mapping[str, float | None] = field(default_factory=dict)
    knockdown: tuple[str, ...] = ()
    inputs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """How a prediction is wanted: in which ``context``, after how many ``steps`` (None: at the steady state), with
    intervals of which ``level``, from how many draws, chosen by which ``seed``."""

    context: str | None = None
    steps: int | None = None
    level: float = LEVEL
    num_draws: int = 200
    seed: int = 0


class Answers(Generic[M]):
    """What can be asked of a posterior beyond its edges. This one refuses everything; that of a family of models
    (`registry.ANSWERS`) overrides what the family can answer.

    It has no state: what it is asked about comes with each question.
    """

    # -- what the checks of a fit ask ----
    coverage_range: ClassVar[tuple[float, float]] = COVERAGE_RANGE
    """Share of values in their 90% interval between which the noise of the model fits the data."""
    leaves_values_out: ClassVar[bool] = True
    """Whether the checks compare each value with what the others alone predict (`left_out`). Not of models that follow
    each value, nor where ``sd`` of `cells` is not the noise alone, as where it has the leverage in it."""
    directed: ClassVar[bool] = False
    """Whether the direction of an edge between two regulators is known."""
    links: ClassVar[bool] = False
    """Whether an edge between two regulators is found in both directions alike: it leaves the lists at a rate, and is
    among the links (`promise`)."""
    spent_knowledge: ClassVar[str | None] = None
    """Why the trust in a source says nothing of whether the data support it, in words; None: it does."""
    predicts_held_out: ClassVar[bool] = False
    """Whether an ablation scores the values of cells that were held out of the fit."""

    def unpredictable(self, model: M, data: ExpressionData) -> str | None:
        """Why the values of ``data`` are not predicted, as a sentence that begins "Not checked: "; None: they are."""
        return "Not checked: this model has no predictions of single values."

    def checks_residuals(self, model: M) -> bool:
        """Whether the table of checks has a row for `residuals`."""
        return False

    def misfits(self, posterior: PosteriorLike[M], data: ExpressionData, *, seed: int) -> Iterator[Check]:
        """Rows of the table of checks on what the model gets wrong of cells that it describes well one by one."""
        return iter(())

    def num_learned(self, posterior: PosteriorLike[M]) -> tuple[int, str]:
        """How many numbers a variational fit learned, by which its drift is judged; and what to raise if it moves."""
        return posterior.moments["W"].mean.size, "num_steps"

    def has_predictions(self, model: M) -> bool:
        """Whether `cells` answers for data of the fit, checked or not."""
        return True

    def has_joint_density(self, model: M) -> bool:
        """Whether the draws have all sites that the density p(X, z) takes."""
        return True

    def prior_decides_size(self, model: M) -> bool:
        """Whether a prior of fixed width, and not the cells, decides how large effects are."""
        return False

    def has_edge_prior(self, model: M) -> bool:
        """Whether the reported edges have a prior probability that the sources are in (`ablation.prior_inclusion`)."""
        return True

    # -- what was stored ----
    def check_kept(self, model: M, attributes: Mapping[str, Any], chains: int) -> None:
        """Refuse (``TypeError``) a stored fit of ``chains`` chains in which what the engine kept for later does not
        belong to the model."""
        return

    # -- single values ----
    def cells(
        self, posterior: PosteriorLike[M], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        """At most ``number`` random values of ``data``, predicted; see `cells.predict_cells`."""
        self._refuse(posterior.model, "has no predictions of single cells: they are for LinearNetwork")

    def residuals(
        self, posterior: PosteriorLike[M], data: ExpressionData, *, num_cells: int, num_draws: int, seed: int
    ) -> np.ndarray:
        """``(cell, target)``; see `cells.squared_residuals`."""
        self._refuse(posterior.model, "has no predictions of single cells: they are for LinearNetwork")

    # -- interventions ----
    def predicts(self) -> bool:
        """Whether `predict` answers."""
        return type(self).predict is not Answers.predict

    def predict(self, posterior: PosteriorLike[M], intervention: Intervention, request: Request) -> pd.DataFrame:
        """Levels after an intervention; see `Posterior.predict`, which has checked that genes are named once."""
        levels_only(intervention)
        self._refuse(posterior.model, "does not predict interventions: use linear, factorbox, cellbox, phoenix")

    def prediction_notes(self, posterior: PosteriorLike[M]) -> list[str]:
        """What is to be said with every prediction of an intervention, whatever gene it is of."""
        return []

    def knockouts(self, posterior: PosteriorLike[M], genes: Sequence[str], request: Request) -> Iterator[pd.DataFrame]:
        """The tables of `predict` with each of ``genes`` knocked out in turn."""
        for gene in genes:
            yield self.predict(posterior, Intervention({gene: None}), request)

    def fluctuations(self, model: M, context: str | None) -> Callable[[Mapping[str, np.ndarray]], Fluctuations]:
        """From one joint draw, ``(1, *dims)`` by site, to its dynamics in a context and what disturbs them."""
        self._refuse(model, "is no dynamical system: variance flux is for FactorBox and CellBox")

    # -- time courses ----
    def course(
        self,
        posterior: PosteriorLike[M],
        times: Sequence[float],
        *,
        start: Mapping[str, float] | str | None,
        knockout: Sequence[str],
        overexpress: Mapping[str, float] | None,
        num_draws: int,
        seed: int,
    ) -> Course:
        """A trajectory; see `courses.predict_course`."""
        self._refuse(posterior.model, "has no trajectories of time courses: they are for PHOENIX")

    def velocity(self, posterior: PosteriorLike[M], data: ExpressionData, *, num_draws: int, seed: int) -> pd.DataFrame:
        """Derivatives at cells; see `courses.velocity`."""
        self._refuse(posterior.model, "has no velocities of time courses: they are for PHOENIX")

    # -- activities ----
    def activities(self, posterior: PosteriorLike[M], *, level: float) -> pd.DataFrame:
        """Activities of regulators in cells; see `activities.activities`."""
        self._refuse(posterior.model, "has no activities of regulators: they are of pmf-grn fits")

    # -- gene programs ----
    def programs(
        self, posterior: PosteriorLike[M], *, level: float, program: str | None, top: int | None
    ) -> pd.DataFrame:
        """Loadings; see `programs.programs`."""
        self._no_programs(posterior.model)

    def factors(self, posterior: PosteriorLike[M], *, level: float) -> pd.DataFrame:
        """Variance explained; see `programs.factors`."""
        self._no_programs(posterior.model)

    def refined_sets(self, posterior: PosteriorLike[M]) -> pd.DataFrame:
        """Gene sets after the data; see `programs.refined_sets`."""
        self._no_programs(posterior.model)

    def covariate_effects(self, posterior: PosteriorLike[M], *, level: float) -> pd.DataFrame:
        """What covariates do; see `programs.covariate_effects`."""
        self._no_programs(posterior.model)

    def scores(
        self, posterior: PosteriorLike[M], data: ExpressionData, *, group: str | None, least_genes: float
    ) -> Scores:
        """Mean and sd of programs in cells; see `program_cells.scores`."""
        self._no_programs(posterior.model)

    def log_density(self, posterior: PosteriorLike[M], data: ExpressionData, *, num_draws: int) -> np.ndarray:
        """``(cell,)`` log predictive density of cells; see `program_cells.log_density`."""
        self._no_programs(posterior.model)

    def annotate(self, posterior: PosteriorLike[M], adata: Any, data: ExpressionData) -> None:
        """Scores and loadings into an AnnData; see `programs.annotate`."""
        self._no_programs(posterior.model)

    # -- refusals ----
    def _no_programs(self, model: Model) -> NoReturn:
        self._refuse(model, "has edges and no programs: use posterior.edges()")

    @staticmethod
    def _refuse(model: Model, why: str) -> NoReturn:
        raise ValueError(f"{type(model).__name__} {why}")


def levels_only(intervention: Intervention) -> None:
    """Refuse what only panels and models with inputs can do."""
    if intervention.knockdown or intervention.inputs:
        raise ValueError("knock-downs as a panel does them are for FactorBox, inputs for CellBox: use `knockout`")
