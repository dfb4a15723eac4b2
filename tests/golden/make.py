"""Saved posteriors and checkpoints, which every later version is to read; run as ``python tests/golden/make.py``.

One folder a version. A folder that is there is not touched: what an old version wrote cannot be written again by a new
one. Each saved posterior has beside it, as csv, the tables that were read from it then.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyrogrn import __version__, fit, flux_table
from pyrogrn.inference import BlockDescent, Blocked, Checkpoint, Gibbs, MeanField, Posterior, Pruned
from pyrogrn.models import (
    MODELS,
    PMFGRN,
    PPCA,
    CellBox,
    ExpressionData,
    FactorBox,
    LinearNetwork,
    Model,
    MuVI,
    NetREXCF,
    Phoenix,
    Symphony,
    TrajectoryNetwork,
)
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_muvi, simulate_panel
from pyrogrn.priors import HorseshoeLoading, Laplace, PriorNetwork, SpikeSlab

HERE = Path(__file__).parent
GIBBS = Gibbs(num_chains=2, num_warmup=6, num_samples=10)
SHORT: dict[str, Any] = {"num_steps": 12, "num_draws": 10, "restarts": 2, "seed": 1}
STOPPED = 9  # steps after which a fit of a checkpoint was interrupted


def network_of(data: ExpressionData, *, signs: bool = True) -> dict[str, PriorNetwork]:
    """A source that names every second possible edge."""
    pairs = [(s, t) for s in data.tfs for t in data.genes if s != t][::2]
    edges = pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=0.8)
    if signs:
        edges["sign"] = np.where(np.arange(len(edges)) % 3 == 0, -1, 1)
    return {"motif": PriorNetwork.from_edges(edges, name="motif")}


def datasets() -> dict[type[Model], ExpressionData]:
    """What the small posterior of each model was fitted to."""
    held = {model: make.__closure__ or () for model, make in models().items()}
    found = {model: [cell.cell_contents for cell in cells] for model, cells in held.items()}
    simulated = {model: next((v for v in values if hasattr(v, "gene_sets")), None) for model, values in found.items()}
    plain = {model: next((v for v in values if isinstance(v, ExpressionData)), None) for model, values in found.items()}
    return {model: plain[model] if simulated[model] is None else simulated[model].data for model in found}


def models() -> dict[type[Model], Callable[[], Posterior]]:
    """How to fit one small posterior of each model."""
    cells = simulate_linear(num_genes=6, num_tfs=3, num_cells=40, edge_probability=0.4, seed=3).data
    contexts = simulate_linear(
        num_genes=6, num_tfs=3, num_cells=40, edge_probability=0.4, num_contexts=2, num_perturbed=1,
        cells_per_perturbation=6, seed=4,
    ).data  # fmt: skip
    panel = simulate_panel(num_genes=5, in_degree=2, num_controls=6, seed=2).data
    ode = simulate_courses(num_genes=5, num_trajectories=5, noise=0.02, seed=3).data
    cell = np.arange(cells.num_cells)
    courses = cells.with_times((cell % 4) ** 1.5, [str(c) for c in cell // 4])
    few = cells.subset(np.arange(12))
    doses = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 3)), columns=list(cells.tfs))
    conditions = replace(few, matrix=0.3 * (few.X - few.X.mean(0)), tfs=few.genes).with_inputs(doses)
    programs = simulate_muvi(
        num_genes=8, num_cells=30, num_sets=2, set_size=4, num_covariates=1, correlation=0.4, num_groups=2, seed=5
    )
    shape = (len(cells.tfs), len(cells.genes))
    access = pd.DataFrame(np.random.default_rng(1).normal(size=shape), list(cells.tfs), list(cells.genes))
    sets = {"gene_sets": {"sets": programs.gene_sets}, "min_overlap": 2}
    pruned = Pruned(epochs=2, num_samples=5, svi_steps=5, batch_size=4)
    narrow = MeanField(spread=0.001, init_scale=0.003)
    return {
        LinearNetwork: lambda: fit(
            LinearNetwork.from_data(contexts, networks=network_of(contexts)), guide=GIBBS, **SHORT
        ),
        TrajectoryNetwork: lambda: fit(TrajectoryNetwork.from_data(courses), guide=GIBBS, **SHORT),
        Phoenix: lambda: fit(Phoenix.from_data(ode, networks=network_of(ode), hidden=2), guide=pruned, **SHORT),
        FactorBox: lambda: fit(FactorBox.from_data(panel), guide=GIBBS, **SHORT),
        CellBox: lambda: fit(CellBox.from_data(conditions, edge_prior=Laplace()), guide=narrow, **SHORT),
        PPCA: lambda: fit(PPCA.from_data(programs.data, num_factors=2), guide=Blocked(), **SHORT),
        MuVI: lambda: fit(
            MuVI.from_data(programs.data, num_factors=1, loading_prior=HorseshoeLoading(), **sets), guide=GIBBS, **SHORT
        ),
        PMFGRN: lambda: fit(
            PMFGRN.from_data(cells, networks=network_of(cells, signs=False)), guide=MeanField(), **SHORT
        ),
        Symphony: lambda: fit(Symphony.from_data(cells, evidence={"access": access}), guide=GIBBS, **SHORT),
        NetREXCF: lambda: fit(
            NetREXCF.from_data(cells, networks=network_of(cells)), guide=BlockDescent(2, 20), **SHORT
        ),
    }


def tables(posterior: Posterior) -> dict[str, pd.DataFrame]:
    """What is asked of a saved posterior: edges or programs, and what its model answers."""
    model, few = posterior.model, {"num_draws": 8, "seed": 2}
    ask: dict[str, Callable[[], pd.DataFrame]] = {
        "trust": posterior.trust,
        "predict": lambda: posterior.predict(knockout=[posterior.coords["tf"][0]], **few),
        "knock-down": lambda: posterior.predict(knockdown=[posterior.coords["tf"][0]], **few),
        "inputs": lambda: posterior.predict(inputs={posterior.coords["tf"][0]: 0.5}, **few),
        "flux": lambda: flux_table(posterior, num_draws=8)[0],
        "factors": posterior.factors,
        "sets": posterior.refined_sets,
        "covariates": posterior.covariate_effects,
    }
    asked = {
        LinearNetwork: ("trust", "predict"),
        TrajectoryNetwork: (),
        Phoenix: ("trust", "predict"),
        FactorBox: ("predict", "knock-down", "flux"),
        CellBox: ("inputs", "flux"),
        PPCA: ("factors", "covariates"),
        MuVI: ("factors", "sets", "covariates"),
        PMFGRN: ("trust",),
        Symphony: ("predict",),
        NetREXCF: (),
    }
    if type(model) in (PPCA, MuVI):
        return {"programs": posterior.programs()} | {name: ask[name]() for name in asked[type(model)]}
    return {"edges": posterior.edges()} | {name: ask[name]() for name in asked[type(model)]}


def checkpoints() -> dict[str, dict[str, Any]]:
    """Options of the interrupted fits; both are of `checkpoint_model`."""
    return {"gibbs": {"guide": GIBBS, "seed": 4}, "mean-field": SHORT | {"guide": MeanField(), "seed": 4}}


def checkpoint_model() -> Model:
    """In double precision: rounding on another machine then turns no comparison of the sampler."""
    data = simulate_linear(num_genes=5, num_tfs=2, num_cells=30, edge_probability=0.4, seed=6).data
    return LinearNetwork.from_data(data, edge_prior=SpikeSlab(), networks=network_of(data)).double()


class _Stop:
    """A callback that interrupts after some steps."""

    def __call__(self, state: Any) -> None:
        if state.step >= STOPPED:
            raise KeyboardInterrupt

    def close(self) -> None:
        pass


def write(folder: Path) -> None:
    """Everything of this version into ``folder``, which must not exist."""
    if folder.exists():
        raise SystemExit(f"{folder} is there: what version {__version__} wrote is kept as it is")
    torch.set_num_threads(1)
    makers = models()
    if missing := set(MODELS) - set(makers):
        raise SystemExit(f"no small fit of {sorted(m.__name__ for m in missing)}: add it to `models` and to `tables`")
    scratch = folder.with_name(f"{folder.name}.partial")
    (scratch / "tables").mkdir(parents=True)
    (scratch / "checkpoints").mkdir()
    for model, make in makers.items():
        posterior = make().with_notes(["a note"])
        posterior.save(scratch / model.__name__)
        for name, table in tables(posterior).items():
            table.to_csv(scratch / "tables" / f"{model.__name__}_{name}.csv", index=False, na_rep="NaN")
    for name, options in checkpoints().items():
        # the model is kept as well: sums over cells may round otherwise elsewhere, and a checkpoint knows its data
        fit(checkpoint_model(), **options).save(scratch / "checkpoints" / name)
        with suppress(KeyboardInterrupt):
            file = scratch / "checkpoints" / f"{name}.pt"
            fit(checkpoint_model(), callbacks=[Checkpoint(file), _Stop()], **options)
    scratch.rename(folder)


if __name__ == "__main__":
    write(HERE / __version__)
    sizes = [file.stat().st_size for file in (HERE / __version__).rglob("*") if file.is_file()]
    print(f"{len(sizes)} files, {sum(sizes) / 1e3:.0f} kB")
    sys.exit(0)
