"""`Posterior`: what is believed of the network after the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ..models import ExpressionData, Model
from ..models.data.accepts import takes_anndata
from ..priors.described import Described
from . import storage
from .answers.base import Intervention, Request
from .answers.chosen import chosen_edges
from .answers.new_cells import LEAST_GENES
from .answers.promise import links as links_of
from .answers.promise import why_no_list
from .answers.registry import answers_of
from .answers.results import Course
from .calibration import expected_list
from .draws.differences import all_differences, context_differences
from .draws.edge_table import edge_rows
from .draws.facts import facts_of_fit
from .draws.intervals import LEVEL, check_draws, check_level, check_rate, thin_of
from .draws.layout import has_edges
from .draws.moments import Collector, EdgeMoments
from .points import is_point, without_certainty
from .runs.history import History

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Described):
    """Draws and summaries of a fitted model.

    Attributes
    ----------
    model
        The model that was fitted.
    draws
        By site, ``(chain, draw, *dims)``; a chain is a restart or a Markov chain. Sites the size of the network may be
        thinned.
    moments
        Summaries of ``W`` (and ``W_context``) that use every draw.
    history
        How the fit went.
    guide, calibrated, seed, threshold
        What produced it; whether that engine claims calibration; δ of inclusion, ``None`` when the model has an
        inclusion variable.
    notes
        What was dropped or recognised on the way in; for the report.
    """

    model: Model
    draws: Mapping[str, np.ndarray]
    moments: Mapping[str, EdgeMoments]
    history: History
    guide: str
    calibrated: bool
    seed: int
    threshold: float | None
    notes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_collector(
        cls,
        model: Model,
        collector: Collector,
        history: History,
        *,
        guide: str,
        calibrated: bool,
        seed: int,
        threshold: float | None,
    ) -> "Posterior":
        """From what a sampler or guide has drawn."""
        return cls(model, collector.stacked(), collector.moments(), history, guide, calibrated, seed, threshold)

    def facts(self) -> dict[str, str]:
        """Model, engine, draws, how the fit ended, and what it says of its probabilities."""
        return facts_of_fit(self)

    def with_notes(self, notes: Sequence[str]) -> "Posterior":
        """A copy that also says what happened to the data on the way in."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def coords(self) -> Mapping[str, list[str]]:
        return self.model.coords

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        return self.model.dims

    # -- edges ----
    def edges(
        self,
        *,
        level: float = LEVEL,
        fdr: float | None = None,
        context: str | None = None,
        top: int | None = None,
        least: float | None = None,
    ) -> pd.DataFrame:
        """The edge table, sorted by inclusion (two decimals), then by |weight|; no self-edges, and none outside a hard
        mask.

        Columns: ``source, target``; ``weight`` posterior mean and ``sd`` (standard deviations of the target per
        standard deviation of the source); ``lower, upper`` the equal-tailed interval; ``inclusion`` P(edge exists), or
        P(|W| > δ) for priors without an inclusion variable; ``sign_probability`` that the more probable sign is right
        given that the edge exists; ``lfsr`` the local false sign rate min(P(W ≥ 0), P(W ≤ 0)), an absent edge counting
        as zero (Stephens 2017); ``prior`` the largest confidence of any prior network.

        Of a posterior that was recalibrated (`recalibration.Tuning.apply`), ``inclusion`` is how often edges of which
        the fit says as much exist among made targets, and ``inclusion_model`` what the model states; of others it is
        calibrated on data from the model.

        Between two regulators a regression cannot tell A → B from B → A: such edges come in pairs (see
        `LinearNetwork`), are in the whole table, and in no list at a rate; `links` has them.

        A point estimate is sorted by |weight| alone; its ``sd, lower, upper, inclusion, sign_probability, lfsr`` are
        empty.

        Parameters
        ----------
        level
            Probability of the interval. Default 0.89, as ArviZ.
        fdr
            Keep the largest set whose expected false discovery rate, the mean of 1 − inclusion, is at most this, of the
            edges whose direction is known (`answers.promise.directed_edges`). Refused where nobody has found such lists
            to be true (`answers.promise.why_no_list`).
        context
            One context's weights, and ``inclusion, sign_probability, lfsr`` of its edges; default the network shared by
            all.
        top
            Keep this many rows.
        least
            Keep edges of at least this inclusion; a point estimate, which has none, keeps all. Default all.
        """
        if not has_edges(self.model):
            raise ValueError(f"{type(self.model).__name__} has programs and no edges: use posterior.programs()")
        check_level(level)
        if fdr is not None:
            check_rate(fdr)
            self._check_listed()
        source, target = chosen_edges(self, fdr=fdr, context=context, top=top, least=least)
        return without_certainty(self, edge_rows(self, source, target, level=level, context=context))

    def links(self, *, fdr: float | None = None, top: int | None = None) -> pd.DataFrame:
        """Pairs of regulators with some edge between them whose direction is not known. See `answers.promise.links`.

        Parameters
        ----------
        fdr
            Keep the largest set whose expected share of pairs without an edge, the mean of 1 − probability, is at most
            this.
        top
            Keep this many rows.

        Raises
        ------
        ValueError
            A model of programs; a rate outside (0, 1), or of a fit without lists (`answers.promise.why_no_list`).
        """
        if not has_edges(self.model):
            raise ValueError(f"{type(self.model).__name__} has programs and no links: use posterior.programs()")
        found = links_of(self)
        if fdr is not None:
            check_rate(fdr)
            self._check_listed()
            found = found.iloc[expected_list(found["probability"].to_numpy(), fdr)]
        table = without_certainty(self, found.head(len(found) if top is None else top))
        return table.reset_index(drop=True)

    def context_differences(
        self,
        context: str | None = None,
        other: str | None = None,
        *,
        threshold: float | None = None,
        level: float = LEVEL,
        top: int | None = None,
        fdr: float | None = None,
    ) -> pd.DataFrame:
        """Weights in ``context`` minus those in ``other`` (default: every pair), with the probability that the edges
        differ (with ``threshold``: by more than that), from joint draws; ``fdr`` keeps a list at that rate. See
        `draws.differences.context_differences`."""
        if fdr is not None:
            check_rate(fdr)
            self._check_listed()
        if (context is None) is not (other is None):
            raise ValueError("name two contexts, `context` and `other`, or none for every pair")
        if context is None or other is None:
            return all_differences(self, threshold=threshold, level=level, top=top, fdr=fdr)
        return context_differences(self, context, other, threshold=threshold, level=level, top=top, fdr=fdr)

    def _check_listed(self) -> None:
        """Refuse a list at a rate that nobody has tested."""
        why = why_no_list(self)
        if why is not None:
            raise ValueError(why)

    def trust(self, *, level: float = LEVEL) -> pd.DataFrame:
        """How far the data trust each source of prior knowledge that was given: posterior of b_k, one row a source
        (source, mean, sd, lower, upper); none of what the model makes itself (`Model.own_sources`)."""
        if "trust" not in self.draws:
            return pd.DataFrame(columns=["source", "mean", "sd", "lower", "upper"])
        flat = self.draws["trust"].reshape(-1, self.draws["trust"].shape[-1])
        lower, upper = np.quantile(flat, [(1 - level) / 2, (1 + level) / 2], axis=0)
        table = pd.DataFrame(
            {"source": self.coords["source"], "mean": flat.mean(0), "sd": flat.std(0), "lower": lower, "upper": upper}
        )
        table = table[table["source"].isin(self.model.given_sources)].reset_index(drop=True)
        return without_certainty(self, table)

    # -- gene programs ----
    def programs(self, *, level: float = LEVEL, program: str | None = None, top: int | None = None) -> pd.DataFrame:
        """Loadings of gene programs. See `answers.programs.programs`."""
        return without_certainty(self, answers_of(self.model).programs(self, level=level, program=program, top=top))

    def factors(self, *, level: float = LEVEL) -> pd.DataFrame:
        """Variance that each program explains, by view and group. See `answers.programs.factors`."""
        return without_certainty(self, answers_of(self.model).factors(self, level=level))

    def refined_sets(self) -> pd.DataFrame:
        """Gene sets after the data: genes kept, removed, added. See `answers.programs.refined_sets`."""
        return without_certainty(self, answers_of(self.model).refined_sets(self))

    def covariate_effects(self, *, level: float = LEVEL) -> pd.DataFrame:
        """Effects of covariates on programs and genes. See `answers.programs.covariate_effects`."""
        return without_certainty(self, answers_of(self.model).covariate_effects(self, level=level))

    @takes_anndata
    def scores(
        self, data: ExpressionData, *, group: str | None = None, least_genes: float = LEAST_GENES
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Mean and sd of each program in each cell, new ones too. See `answers.program_cells.scores`."""
        mean, sd = answers_of(self.model).scores(self, data, group=group, least_genes=least_genes)
        return mean, sd if not is_point(self) else sd * np.nan

    @takes_anndata
    def annotate(self, adata: Any, data: ExpressionData) -> None:
        """Scores and loadings into an AnnData, in place. See `answers.programs.annotate`."""
        answers_of(self.model).annotate(self, adata, data)

    # -- activities ----
    def activities(self, *, level: float = LEVEL) -> pd.DataFrame:
        """Activities of regulators in cells. See `answers.activities.activities`."""
        return without_certainty(self, answers_of(self.model).activities(self, level=level))

    # -- draws and predictions ----
    def sample(self, num_draws: int, *, seed: int = 0) -> dict[str, np.ndarray]:
        """``num_draws`` joint draws ``(draw, *dims)``, chains pooled, without replacement where there are enough."""
        pool = self.draws["W"].shape[0] * self.draws["W"].shape[1]
        rng = np.random.default_rng(seed)
        chosen = rng.choice(pool, num_draws, replace=num_draws > pool)
        kept = self.draws["W"].shape[1]
        result = {}
        for name, value in self.draws.items():
            stride = 1 if value.shape[1] == kept else thin_of(self)  # small sites keep every draw, large ones some
            aligned = value[:, ::stride][:, :kept]
            result[name] = aligned.reshape(-1, *value.shape[2:])[chosen]
        return result

    def predict(
        self,
        *,
        knockout: Sequence[str] = (),
        overexpress: Mapping[str, float] | None = None,
        context: str | None = None,
        steps: int | None = None,
        knockdown: Sequence[str] = (),
        inputs: Mapping[str, float] | None = None,
        level: float = LEVEL,
        num_draws: int = 200,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Expression after interventions, by the steady state of the network, in the units of the data.

        A linear network does not know who acts on whom among regulators that are targets too. A regulator that was
        clamped in the data is answered by what the others did in those cells; any other by networks drawn from all that
        the covariance of the regulators allows, over every order of them, with feedback, and with what prior networks
        and interventions say of it: intervals carry that doubt (`answers.regulator_response`). ``steps`` follows the
        regression's weights as they are, as CellOracle does, without that doubt.

        Parameters
        ----------
        knockout
            Regulators set to zero (where the data have negative values: to the smallest value seen).
        overexpress
            Regulators set to a given expression level.
        knockdown
            FactorBox: genes brought down as the panel does it. A single one is answered by what the panel's own
            knock-downs teach, with the noise of a new measurement; several by the network
            (`answers.panels.predict_panel`).
        inputs
            CellBox: dose by node, in the units of the inputs of the fit.
        context
            One context's network; default the shared one.
        steps
            Carry the change n steps through the network as CellOracle does, instead of solving for the steady state.
        level, num_draws, seed
            Of the interval; posterior draws used.

        Returns
        -------
        DataFrame
            ``gene, mean, sd, lower, upper, settled, control``: level after the intervention with its posterior
            uncertainty (of the steady state; FactorBox and CellBox add the noise of a new measurement), the share of
            draws whose network has a stable steady state (the others are left out; levels are NaN when not all and
            fewer than a tenth or 20 have one), and the level before.

        Raises
        ------
        ValueError
            No gene given, a gene that is not in the data, that is no regulator, or one clamped twice; a ``level``
            outside (0, 1), fewer than one draw.
        """
        check_level(level)
        check_draws(num_draws)
        levels = {gene: None for gene in knockout} | dict(overexpress or {})
        if not (levels or knockdown or inputs):
            raise ValueError("nothing to predict: name a gene to knock out, knock down or over-express, or an input")
        named = [*knockout, *knockdown, *(overexpress or {})]
        if len(set(named)) < len(named):
            raise ValueError(f"clamped twice: {sorted({g for g in named if named.count(g) > 1})}. Give each gene once")
        intervention = Intervention(levels, tuple(knockdown), dict(inputs or {}))
        request = Request(context, steps, level, num_draws, seed)
        return without_certainty(self, answers_of(self.model).predict(self, intervention, request))

    def prediction_notes(self) -> list[str]:
        """What is to be said with every prediction of this fit: that observations do not tell directions."""
        return answers_of(self.model).prediction_notes(self)

    def course(
        self,
        times: Sequence[float],
        *,
        start: Mapping[str, float] | str | None = None,
        knockout: Sequence[str] = (),
        overexpress: Mapping[str, float] | None = None,
        num_draws: int = 100,
        seed: int = 0,
    ) -> Course:
        """PHOENIX: a trajectory from any start; its ``table(level)`` has bands and velocities. See
        `answers.courses.predict_course`."""
        check_draws(num_draws)
        return answers_of(self.model).course(
            self,
            times,
            start=start,
            knockout=knockout,
            overexpress=overexpress,
            num_draws=num_draws,
            seed=seed,
        )

    @takes_anndata
    def velocity(self, data: ExpressionData, *, num_draws: int = 50, seed: int = 0) -> pd.DataFrame:
        """PHOENIX: the derivative at each cell. See `answers.courses.velocity`."""
        return without_certainty(self, answers_of(self.model).velocity(self, data, num_draws=num_draws, seed=seed))

    def knockouts(
        self,
        *,
        context: str | None = None,
        steps: int | None = None,
        level: float = LEVEL,
        num_draws: int = 200,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Every regulator knocked out in turn: the tables of `predict` one below the other, with a column ``knockout``
        first. FactorBox solves them together."""
        check_level(level)
        check_draws(num_draws)
        genes = list(self.coords[self.model.axes[0]])
        request = Request(context, steps, level, num_draws, seed)
        tables = answers_of(self.model).knockouts(self, genes, request)
        parts = []
        for gene, table in zip(genes, tables, strict=True):
            table.insert(0, "knockout", gene)
            parts.append(without_certainty(self, table))
        return pd.concat(parts, ignore_index=True)

    # -- elsewhere ----
    @takes_anndata
    def to_datatree(self, data: ExpressionData | None = None, *, seed: int = 0) -> "xarray.DataTree":
        """As an ArviZ DataTree; with ``data``, also predictive draws and pointwise log-likelihoods. See
        `datatree.to_datatree`."""
        from .datatree import to_datatree  # here: ArviZ takes seconds

        return to_datatree(self, data, seed=seed)

    @takes_anndata
    def diagnose(self, data: ExpressionData | None = None) -> pd.DataFrame:
        """A verdict table: check, value, threshold, passed, meaning. ``data`` are the cells of the fit. See
        `diagnostics.diagnose`."""
        from .diagnostics import diagnose  # here: ArviZ takes seconds

        return diagnose(self, data)

    def save(self, folder: str | Path) -> None:
        """Write arrays and a manifest into ``folder`` (no pickle). See `storage.save`."""
        storage.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> "Posterior":
        """Read what `save` has written, on any machine and device."""
        return cls(**storage.load(Path(folder), device=device))
