"""The trial: targets with known truth are made on the user's regulators, fitted, and compared with the truth."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...models import ExpressionData
from ...models.simulators import donors_of, with_plain_genes
from ...models.simulators.semi_synthetic import LEAST_R2, MOST_ACTING
from ...priors import PriorNetwork
from ..calibration import expected_calibration_error, expected_list, log_score
from ..misfit_checks import WITH_SHARED
from ..runs.threads import one_thread_each
from .causes import stated_alike
from .cells import MOST_NUMBERS, held_cells
from .edge_map import EdgeMap
from .shared_causes import shared_causes
from .trial import HIDDEN, KINDS, UNSEEN, MakeModel, Stated, TrialOptions
from .tuning import Tuning, linear_network
from .witnesses import witnesses_of

RATE = 0.1  # at which lists are scored
FEWER = 0.7  # a likelihood of more than so many of the cells is that of all


def tune(
    data: ExpressionData,
    networks: Mapping[str, PriorNetwork] | None = None,
    *,
    make: MakeModel | None = None,
    options: TrialOptions | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Tuning:
    r"""Learn on made targets how often what a fit says of an edge is right.

    Targets whose true regulators are known are made on the regulators of these cells (`stated_alike`) and fitted as the
    real genes are, three times: with the likelihood of all cells; with one that counts for four hundred (`coarsened`),
    as what only many cells see is often what the model gets wrong; and with one that counts for a hundred, on
    regulators averaged with what other genes say of them (`witnesses`), as what was measured of a regulator is not
    all that its targets saw. A map from these to the share of edges that exist (`EdgeMap`) is learned on all made
    targets, and scored on those it was not learned on.

    What holds on made targets need not hold on real ones; it is the least that must. Where the regulators explain none
    of the genes in cells that were not fitted, no edge can be told: each then has the probability that one has before
    the cells were seen, and ``scores`` are empty.

    Parameters
    ----------
    data
        The cells, normalised as they are fitted; at least four candidate regulators. Of more than 100 million cells x
        regulators, so many cells are drawn at random (`cells.held_cells`).
    networks
        Prior networks by name: for each, a source as wide is made around the truth of each world, half of its edges at
        random places.
    make
        Cells, prior networks and targets to the network that is fitted. Default `LinearNetwork` with its own prior.
    options
        How long the trial is.
    seed
        Same seed, same tuning. The global generators are not touched.
    threads
        That work at once. Default as many as torch may use; numbers are the same.

    Returns
    -------
    Tuning
        ``tuning.apply(fit(model), data, networks, make=make)`` is the recalibrated posterior.

    Raises
    ------
    ValueError
        Fewer than four regulators or six cells; constant genes; several contexts.

    Examples
    --------
    >>> from pyrogrn import LinearNetwork, fit
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> data = simulate_linear(num_genes=20, num_tfs=6, num_cells=80, seed=0).data
    >>> found = tune(data, options=TrialOptions(targets=10, worlds=2, warmup=5, samples=5))
    >>> posterior = found.apply(fit(LinearNetwork.from_data(data)), data)
    >>> "inclusion_model" in posterior.edges()
    True
    """
    options = options or TrialOptions()
    if data.num_contexts > 1:
        raise ValueError(f"a trial on made targets is for one context, these cells have {data.num_contexts}")
    with one_thread_each() as number:
        return _tuned(data, networks or {}, make or linear_network, options, seed=seed, threads=threads or number)


def _tuned(
    data: ExpressionData,
    networks: Mapping[str, PriorNetwork],
    make: MakeModel,
    options: TrialOptions,
    *,
    seed: int,
    threads: int,
) -> Tuning:
    held = held_cells(data, seed=seed)
    wide = held is not data or data.num_cells * data.num_genes > MOST_NUMBERS  # too much to hold every gene of
    data = held
    witnesses = None if wide or options.heard is None else witnesses_of(data, seed=seed, threads=threads)
    as_measured = (options.heard,) if witnesses is None and options.heard is not None else ()
    coarse = tuple(number for number in (*as_measured, *options.cells) if number < FEWER * data.num_cells)
    data = with_plain_genes(data, seed=seed)
    # made targets are asked of the second half of the witnesses: of a gene that is one of them, the noise is in what
    # these say of the regulators, and every regulator would have to do with it
    among = None if witnesses is None else {name for name, half in witnesses.half.items() if half == 0}
    donors = donors_of(data, 2 * options.targets, seed=seed, among=among)
    shared = None if witnesses is None else shared_causes(data, witnesses, seed=seed)
    settings: dict[str, Any] = {
        "seed": seed,
        "cells": data.num_cells,
        "explained": float((donors.r2 >= LEAST_R2).mean()),
        "targets": options.targets,
        "worlds": options.worlds,
        "hidden": options.hidden,
        "heard": None if witnesses is None else options.heard,
        "warmup": options.warmup,
        "samples": options.samples,
        "sweeps": options.sweeps,
        "shared": None if shared is None else shared.to_dict(),
    }
    if not settings["explained"]:
        share = UNSEEN * (1 + MOST_ACTING) / 2 / len(data.tfs)
        number = 1 + (witnesses is not None) + len(coarse)
        return Tuning(coarse, EdgeMap.constant(min(share, 0.5), number), {}, settings)
    hidden = options.hidden > 0 and shared is not None and shared.number > 0
    found, causes = stated_alike(
        data,
        donors,
        networks,
        make,
        (None, *coarse),
        options,
        witnesses=witnesses,
        further=hidden,
        seed=seed,
        threads=threads,
    )
    settings["causes"] = [list(span) for _, span in sorted(causes.items())]
    usual = found.of(found.world < KINDS * options.worlds) if hidden else found
    scores, own = scores_of(usual), None
    if hidden:  # genes with such causes are like targets of worlds that have them
        pairs = found.of(found.world % KINDS == HIDDEN)
        scores[WITH_SHARED], own = scores_of(pairs)["recalibrated"], map_of(pairs)
    return Tuning(coarse, map_of(usual), scores, settings, witnesses, shared_map=own, shared=shared)


def map_of(pairs: Stated) -> EdgeMap:
    """What these pairs say of how often statements are right."""
    return EdgeMap.fit(pairs.probability, pairs.true, pairs.evidence)


def scores_of(pairs: Stated) -> dict[str, dict[str, float | None]]:
    """Scores of what the posterior of all cells states (``raw``), and of what a map learned on half of the worlds makes
    of the others (``recalibrated``): ``bits`` log score a pair, ``ece``, and of the list at 10% ``listed`` edges,
    ``wrong`` share of them, and ``power`` share of the true edges."""
    odd = pairs.world // KINDS % 2 == 1
    mapped = np.empty(len(pairs.true))
    for part in (odd, ~odd):
        learned = map_of(pairs.of(~part))
        mapped[part] = learned(pairs.probability[:, part], pairs.evidence[:, part])
    return {"raw": _scores(pairs.probability[0], pairs.true), "recalibrated": _scores(mapped, pairs.true)}


def _scores(probability: np.ndarray, true: np.ndarray) -> dict[str, float | None]:
    listed = expected_list(probability, RATE)
    return {
        "bits": log_score(probability, true) / float(np.log(2)),
        "ece": expected_calibration_error(probability, true),
        "listed": len(listed),
        "wrong": float(1 - true[listed].mean()) if len(listed) else None,
        "power": float(true[listed].sum() / max(true.sum(), 1)),
    }
