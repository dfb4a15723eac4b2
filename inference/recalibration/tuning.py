"""What a trial on made targets has found, and how it is applied to a fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...models import ExpressionData, LinearNetwork, RegressionNetwork
from ...priors import PriorNetwork
from ..draws.edge_table import RAW, RECORD
from ..draws.moments import EdgeMoments
from .edge_map import EdgeMap
from .evidence import evidence_of
from .shared_causes import SharedCauses, shared_causes
from .trial import MakeModel, TrialOptions, heard_fit, short_fit
from .witnesses import Witnesses, witnesses_of

if TYPE_CHECKING:
    from distributed import Client

    from ..posterior import Posterior


class Others(NamedTuple):
    """What a map of a trial takes of real genes beside the posterior that it corrects.

    ``stated`` (tf, target) by each of the other posteriors, None of one that does not count; ``evidence`` of
    `evidence_of`, or None; ``shared`` (edge,) positions of targets of which the trial has a map of their own, or None.
    """

    stated: list[np.ndarray | None]
    evidence: np.ndarray | None
    shared: np.ndarray | None


@dataclass(frozen=True)
class Tuning:
    """How often what a fit says of an edge is right, on made targets.

    Attributes
    ----------
    cells
        Effective numbers of cells of the posteriors beside that of all cells.
    map
        From the inclusion that posteriors state: that of all cells; if ``settings`` have a number of cells ``heard``,
        that on regulators averaged with what other genes say of them; those of ``cells``.
    scores
        On made targets, ``raw`` and ``recalibrated``; see `tune.scores_of`. Empty where none could be made.
    settings
        Seed, number of targets and worlds, and so on; ``explained``: of real genes the share of which the regulators
        explain something in cells that were not fitted.
    witnesses
        Those of the trial, where it was made in this process; they are found again where it was not.
    shared_map
        The map of edges into genes with causes that are not among the regulators and that other genes have too
        (`shared_causes`); None where there are none.
    shared
        Which these are, as ``witnesses``.
    """

    cells: tuple[float, ...]
    map: EdgeMap
    scores: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    witnesses: Witnesses | None = field(default=None, repr=False, compare=False)
    shared_map: EdgeMap | None = None
    shared: SharedCauses | None = field(default=None, repr=False, compare=False)

    def apply(
        self,
        posterior: "Posterior",
        data: ExpressionData,
        networks: Mapping[str, PriorNetwork] | None = None,
        *,
        make: MakeModel | None = None,
        client: "Client | None" = None,
        others: "Others | None" = None,
    ) -> "Posterior":
        """The posterior with the inclusion of its edges recalibrated; what the model states is kept as
        ``attributes["inclusion_model"]``. ``lfsr``, tables, lists and reports follow; draws stay those of the model.
        The short fits that it takes are divided over the workers of ``client`` (as of `fit`).

        Parameters
        ----------
        posterior
            Of a linear network of one context, not recalibrated before.
        data, networks, make
            As of `tune`: what it was fitted to.
        others
            Of `others`, with the same arguments, where that was asked before. Default: it is asked.

        Raises
        ------
        ValueError
            It was recalibrated before; it is not of a linear network of one context; a trial with witnesses and too few
            genes that are no regulators.
        """
        if RAW in posterior.attributes:
            raise ValueError("this posterior was recalibrated before")
        model: Any = posterior.model
        if not model.plain_regression or model.has_contexts:
            raise ValueError("recalibration is for linear networks of one context")
        if others is None:
            others = self.others(model, data, networks, make=make, client=client)
        raw = posterior.moments["W"]
        # of a slope of 0 it does not matter which
        stated = [raw.inclusion, *(raw.inclusion if table is None else table for table in others.stated)]
        inclusion = self.map(stated, others.evidence if self.map.weights else None)
        if self.shared_map is not None and others.shared is not None:
            at = others.shared
            known = None if others.evidence is None or not self.shared_map.weights else others.evidence[:, :, at]
            inclusion[:, at] = self.shared_map([table[:, at] for table in stated], known)
        inclusion = inclusion * model.edge_prior.allowed.cpu().numpy()
        moments = {**posterior.moments, "W": with_inclusion(raw, inclusion)}
        attributes = {**posterior.attributes, RAW: raw.inclusion, RECORD: self.to_dict()}
        return replace(posterior, moments=moments, attributes=attributes)

    def others(
        self,
        model: RegressionNetwork,
        data: ExpressionData,
        networks: Mapping[str, PriorNetwork] | None = None,
        *,
        make: MakeModel | None = None,
        client: "Client | None" = None,
    ) -> "Others":
        """What the map takes besides the posterior of this model on all cells. Arguments as of `apply`."""
        length = lambda name: int(self.settings[name])
        options = TrialOptions(warmup=length("warmup"), samples=length("samples"), sweeps=length("sweeps"))
        seed, number = length("seed"), len(self.map.slopes) - 1
        maps = [self.map] if self.shared_map is None else [self.map, self.shared_map]
        stated: list[np.ndarray | None] = [None] * number
        counts = [max(slopes) > 0 for slopes in zip(*(one.slopes for one in maps), strict=True)][1:]
        own = max(len(one.weights) for one in maps) > 1  # what only the regulators' own measurement says
        heard = self.settings.get("heard") is not None and counts[0]
        witnesses = self._witnesses(data) if own or heard or len(maps) > 1 else None
        if witnesses is not None and heard:
            options = replace(options, heard=float(self.settings["heard"]))
            made_by = make or linear_network
            stated[0] = heard_fit(model, data, networks or {}, made_by, witnesses, options, seed=seed, client=client)
        for i, cells in enumerate(self.cells, start=number - len(self.cells)):
            if counts[i]:
                stated[i] = short_fit(model, cells, options, seed=seed, client=client)
        evidence = evidence_of(model, data, witnesses if own else None) if any(one.weights for one in maps) else None
        shared = None
        if self.shared_map is not None and witnesses is not None:
            shared = np.flatnonzero(self._shared(data, witnesses).genes(model.targets))
        return Others(stated, evidence, shared)

    def _witnesses(self, data: ExpressionData) -> Witnesses:
        """Those of the trial, or the same found again."""
        known = self.witnesses
        found = known if known is not None and known.fits(data) else witnesses_of(data, seed=int(self.settings["seed"]))
        if found is None:
            raise ValueError("this trial asked genes that are no regulators, and these cells have hardly any")
        return found

    def _shared(self, data: ExpressionData, witnesses: Witnesses) -> SharedCauses:
        """Those of the trial, or the same found again."""
        made = self.witnesses is not None and self.witnesses.fits(data)
        known = self.shared if made else shared_causes(data, witnesses, seed=int(self.settings["seed"]))
        if known is None:
            raise ValueError("this trial asked what genes share beyond the regulators, which these cells cannot tell")
        return known

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "cells": list(self.cells),
            "map": self.map.to_dict(),
            **({} if self.shared_map is None else {"shared_map": self.shared_map.to_dict()}),
            "scores": {name: dict(values) for name, values in self.scores.items()},
            "settings": dict(self.settings),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Tuning":
        """From `to_dict`.

        Raises
        ------
        ValueError
            Something is missing.
        """
        try:
            cells = tuple(float(number) for number in values["cells"])
            shared = EdgeMap.from_dict(values["shared_map"]) if "shared_map" in values else None
            scores, settings = dict(values["scores"]), dict(values["settings"])
            return cls(cells, EdgeMap.from_dict(values["map"]), scores, settings, shared_map=shared)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no tuning of `tune` ({error}): expected cells, map, scores and settings") from None


def linear_network(
    data: ExpressionData, networks: Mapping[str, PriorNetwork], targets: Sequence[str]
) -> RegressionNetwork:
    """The network that is fitted unless one says otherwise."""
    return LinearNetwork.from_data(data, networks=networks, targets=targets)


def with_inclusion(moments: EdgeMoments, inclusion: np.ndarray) -> EdgeMoments:
    """Moments with another inclusion, and with the probabilities of its two signs in the proportion that they had."""
    new = inclusion.astype(moments.inclusion.dtype)
    ratio = np.divide(new, moments.inclusion, out=np.zeros_like(new), where=moments.inclusion > 0)
    return replace(moments, inclusion=new, positive=moments.positive * ratio, negative=moments.negative * ratio)
