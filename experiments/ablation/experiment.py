"""`ablate`: what each source of prior knowledge is worth, and how wrong it may be."""

import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...models import ExpressionData
from ...priors import PriorNetwork
from ..sweep import SweepError, check_backend, dask_client, sweep
from .case import run_case
from .changes import NO_SOURCE, Change, standard_changes
from .checks import checked, refuse, unsigned
from .engines import SAMPLED, Effort, canonical, check_method
from .inputs import varying_in_training, write_inputs
from .measures import measure
from .result import AblationResult
from .settings import Settings
from .subjects import subject_of
from .ways import level_name, ways_of_all

if TYPE_CHECKING:
    from distributed import Client

Configuration = dict[str, Any]
UNKEYED = ("inputs", "name")  # where the inputs lie, and what a run is called: the digest and the change say what it is


def ablate(
    data: ExpressionData,
    networks: Mapping[str, PriorNetwork | Mapping[str, Sequence[str]]],
    *,
    truth: pd.DataFrame | None = None,
    methods: Sequence[str] = ("linear",),
    changes: Sequence[Change] | None = None,
    strategies: Sequence[str] | None = None,
    trust: Sequence[str | float] = (SAMPLED,),
    seeds: Sequence[int] = (0, 1, 2),
    hold_out_cells: float = 0.2,
    within_truth: bool = True,
    effort: Effort | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    out: Path | str | None = None,
    backend: str = "loky",
    jobs: int | None = None,
    progress: bool = False,
    client: "Client | None" = None,
) -> AblationResult:
    """Fit methods with and without sources of prior knowledge, damaged or not, and say what each was worth.

    Every combination of method, strategy, trust, change and seed is one fit; those that are the same fit (a run without
    sources has no strategy) are run once. A seed decides the chains, the cells held out, and which edges are damaged.

    Parameters
    ----------
    data
        Expression. Targets are all genes, regulators ``data.tfs``.
    networks
        Sources of prior knowledge by name; of programs libraries of gene sets, name → genes, or networks from sets to
        genes.
    truth
        ``source, target``: the edges that exist; of programs the genes (target) that belong to a set (source). Without
        it there are no scores of edges, only bits and predictions.
    methods
        Names (`engines.method_names`): any network method, ``glad``, ``glad-tf``, ``grnular``, ``celloracle``, and
        ``prior-only``, the knowledge without the data; or programs, ``muvi`` and ``ppca`` (whose prior takes no sets:
        they name its programs afterwards).
    changes
        What to run; a run without any source is added, everything is compared with it. Default `standard_changes`: each
        source alone, each left out, all.
    strategies
        How knowledge enters (`engines.STRATEGIES`; ``evidence`` of symphony; ``own`` of methods that leave no choice).
        Default the first of `engines.strategies_of` each method: ``inclusion``, ``evidence``, ``own``. Of those given,
        a method runs the ones that it has; notes say which it has not.
    trust
        ``"sampled"``: how far each source is believed is learned (default). A number: every b_k held at it, with the
        strategies ``inclusion`` and ``scale``; notes say which others are run without it.
    seeds
        Default three, the least for a standard error.
    hold_out_cells
        Share of cells (of time courses: whole courses) that are not fitted but predicted. Default 0.2; 0 fits all.
        Genes that vary only among the cells held out with some seed are dropped, with a note.
    within_truth
        Score only pairs of regulators that have an edge in ``truth`` (default): others are unknown rather than absent.
    effort
        Lengths of the fits. Default `Effort()`.
    settings
        Options of ``model``, ``prior``, ``guide`` and ``fit`` by name, for every method, as ``--set`` of `infer`; of
        programs also ``model.num_factors``, those beside the sets (default 2), and ``model.min_overlap`` (default 5).
        They say nothing of ``prior-only`` but its prior.
    out
        Folder for finished runs and tables; a run that is there is not repeated. The workers must be able to read it.
        Default: nothing is kept.
    backend, jobs, progress, client
        As `sweep`.

    Returns
    -------
    AblationResult
        Rows of all runs, what each source contributed, and summaries.

    Raises
    ------
    ValueError
        A source without an edge in the data, by name; unknown or repeated methods, strategies, trusts, seeds, sources;
        strategies and trusts of which a method takes none; flipped signs of sources that have none; a truth without an
        edge among the pairs. Nothing has been written then.
    SweepError
        Runs that failed, after all others were run: what is finished is kept in ``out``.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> toy = simulate_linear(num_genes=8, num_tfs=3, num_cells=60, edge_probability=0.4, seed=0)
    >>> known = PriorNetwork.from_edges(toy.network[["source", "target"]], name="known")
    >>> found = ablate(toy.data, {"known": known}, truth=toy.network, seeds=(0, 1), hold_out_cells=0,
    ...                effort=Effort(2, 20, 20), backend="serial", progress=False)
    >>> found.rows["change"].unique().tolist()
    ['no source', 'known']
    """
    effort = effort or Effort()
    refuse(networks, methods=methods, strategies=strategies, trust=trust, seeds=seeds, hold_out_cells=hold_out_cells)
    check_backend(backend, jobs, client)
    client = dask_client(client) if backend == "dask" else None
    for method in methods:
        check_method(method, data)
    subject, chosen = subject_of(methods), Settings.of(settings)
    before = data.notes
    data = varying_in_training(data, hold_out_cells, seeds)
    used = subject.prepared(networks, data, chosen)
    sources, notes = subject.described(networks, used, data)
    notes += [note for note in data.notes if note not in before]
    changes = checked(list(changes) if changes is not None else standard_changes(list(networks)), used)
    subject.check(changes)
    notes += unsigned(changes, dict(zip(sources["source"], sources["signed"], strict=True)))
    ways, of_methods = ways_of_all(methods, strategies, trust, changes)
    notes += of_methods
    measured = subject.measured(data, used, truth, within_truth)
    # a folder for the while only where none is given: a killed process would leave it
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as place:
        folder = Path(place)
        inputs = _written_inputs(folder, data, used, runs=out is not None)
        shared: Configuration = {"inputs": str(inputs), "digest": inputs.stem}
        shared |= {"hold_out_cells": hold_out_cells, "effort": asdict(effort)}
        shared |= {"settings": chosen.to_dict()} if chosen.to_dict() else {}  # runs without any keep their keys
        cases = [
            _configuration(method, strategy, level, change, seed, shared)
            for method in methods
            for strategy, level in ways[method]
            for change, seed in itertools.product(changes, seeds)
        ]
        runs = {_key(run): run for _, run in cases}
        found = sweep(
            run_case,
            list(runs.values()),
            out=None if out is None else folder / "runs",
            backend=backend,
            jobs=jobs,
            progress=progress,
            client=client,
            unkeyed=UNKEYED,
        )
    rows, trusts = _against_bare(cases, dict(zip(runs, found, strict=True)), measured)
    told: dict[str, Any] = {
        "methods": list(methods),
        "strategies": None if strategies is None else list(strategies),
        "trust": list(trust),
        "seeds": [int(seed) for seed in seeds],
        "hold_out_cells": hold_out_cells,
        "effort": asdict(effort),
        "cells": data.num_cells,
        "genes": data.num_genes,
        **subject.counts(data, used),
        "pairs_scored": measured.num_pairs,
        "true_edges": measured.num_true,
        "truth_outside": measured.num_outside,
        "changes": [change.to_dict() for change in changes],
    }
    told |= {"settings": chosen.to_dict()} if chosen.to_dict() else {}
    result = AblationResult(pd.DataFrame(rows), pd.DataFrame(trusts), sources, tuple(notes), told)
    if out is not None:
        result.write(folder)
    return result


def _against_bare(
    cases: Sequence[tuple[Configuration, Configuration]], results: Mapping[str, Any], measured: Any
) -> tuple[list[Configuration], list[Configuration]]:
    """A row for each run, measured against the one without any source, and rows of the trust in each source."""
    rows, trusts = [], []
    for label, run in cases:
        own = results[_key(run)]
        strategy, level = canonical(run["method"], run["strategy"], run["trust"], False)
        bare = {"change": _content(Change(NO_SOURCE, ())), "strategy": strategy, "trust": level}
        base = results[_key(run | bare)]
        rows.append(label | measure(own, base, measured))
        trusts += [label | row for row in own["trust"]]
    return rows, trusts


def _written_inputs(folder: Path, data: ExpressionData, used: Any, *, runs: bool) -> Path:
    """The file of what all runs share, in ``folder``, which also gets a place for ``runs``."""
    try:
        (folder / "runs" if runs else folder).mkdir(parents=True, exist_ok=True)
        return write_inputs(folder, data, used)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror or error}. Choose another folder") from error


def _configuration(
    method: str, strategy: str, trust: str | float, change: Change, seed: int, shared: Configuration
) -> tuple[Configuration, Configuration]:
    """The labels of a row, and the run behind it."""
    label = {
        "method": method,
        "strategy": strategy,
        "trust": level_name(trust),
        "change": change.name,
        "sources": " + ".join(change.sources),
        "damage": change.damage or "",
        "fraction": change.fraction,
        "seed": seed,
    }
    strategy, trust = canonical(method, strategy, trust, bool(change.sources))
    held = SAMPLED if trust == SAMPLED else float(trust)
    run = {"method": method, "strategy": strategy, "trust": held, "change": _content(change), "seed": int(seed)}
    way = "" if trust == SAMPLED else f", trust {level_name(trust)}"
    return label, run | shared | {"name": f"{method} ({strategy}{way}), {change.name}, seed {seed}"}


def _content(change: Change) -> Configuration:
    """What a change does, whatever it is called."""
    return {name: value for name, value in change.to_dict().items() if name != "name"}


def _key(run: Configuration) -> str:
    return json.dumps({name: value for name, value in run.items() if name not in UNKEYED}, sort_keys=True)


__all__ = ["SweepError", "ablate"]
