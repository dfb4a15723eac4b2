"""Fingerprints of small fits, to tell whether a change of the code has moved a number.

    python tests/freeze.py --out before.json        # on the old code
    python tests/freeze.py --compare before.json    # on the new code: lists what differs, exit code 1 if anything does

Every model is fitted by its default engine under several priors, every engine is run once, and the tables that a
posterior gives are asked for. Each draw, moment and table becomes one SHA-256; a refusal is kept with its words. Equal
hashes are equal numbers bit for bit. Kernels of PyTorch and BLAS round differently from machine to machine and with
the number of threads, so compare files of one machine, made with the same ``--threads``.

The file runs unchanged on other versions of the package: it imports public names, and finds the few others by name
(`find`), wherever they are defined.
"""

import argparse
import hashlib
import importlib
import json
import pkgutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyrogrn
import torch
from pyrogrn import ablate, alternate, fit, fit_many, flux_table, number_of_factors, score_edges
from pyrogrn.experiments.ablation import Effort
from pyrogrn.inference import (
    NUTS,
    Adam,
    Amortised,
    Bagging,
    BlockDescent,
    Blocked,
    Checkpoint,
    Gibbs,
    LowRank,
    MapEstimate,
    MeanField,
    NeverStop,
    Penalties,
    Posterior,
    Pruned,
    default_guide,
    load_checkpoint,
    refine,
)
from pyrogrn.inference.amortised import Family, Schedule, save_weights, train
from pyrogrn.models import (
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
from pyrogrn.priors import (
    Collaborative,
    EdgePrior,
    ElasticNet,
    HardMask,
    Horseshoe,
    HorseshoeLoading,
    Laplace,
    LogitNormal,
    Normal,
    NormalLoading,
    PriorNetwork,
    SpikeSlab,
    SpikeSlabLoading,
)


class Hash(str):
    """What an answer has become."""


Hashes = dict[str, Hash]
CHEAP = {"num_chains": 2, "num_warmup": 6, "num_samples": 8}
SHORT = {"num_steps": 20, "num_draws": 8, "restarts": 2}
CELLBOX = {"guide": MeanField(spread=0.001, init_scale=0.003), "num_steps": 4, "num_draws": 6, "restarts": 2}
UNSTABLE = ("seconds", "time", "creation_library_version", "created_at", "pyrogrn")  # of the run, not of the numbers


def find(package: str, name: str) -> Any:
    """What ``name`` is in the file of ``package`` that defines it, at any depth."""
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        found = getattr(importlib.import_module(info.name), name, None)
        if found is not None and getattr(found, "__module__", None) == info.name:
            return found
    raise AttributeError(f"no file of {package} defines {name}")


# -- hashes ----


def of_array(value: Any) -> str:
    """Type, shape and bytes of an array."""
    array = np.ascontiguousarray(value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value))
    if array.dtype == object or array.dtype.kind in "US":
        return of_plain(array.tolist())
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()


def of_plain(value: Any) -> str:
    """Plain values as sorted JSON; numbers keep all digits."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def of_table(table: pd.DataFrame | pd.Series) -> str:
    """Columns in their order, index and values."""
    table = table.to_frame("value") if isinstance(table, pd.Series) else table
    columns = [c for c in table.columns if not _unstable(str(c))]
    values = {str(c): [_plain(v) for v in table[c].tolist()] for c in columns}
    return of_plain({"columns": [str(c) for c in columns], "index": [str(i) for i in table.index], "values": values})


def of_any(value: Any) -> str:
    """An array, a table, or plain values; what is a hash or a refusal already stays."""
    if isinstance(value, Hash):
        return value
    if isinstance(value, pd.DataFrame | pd.Series):
        return of_table(value)
    if torch.is_tensor(value) or isinstance(value, np.ndarray):
        return of_array(value)
    return of_plain(value)


def _unstable(name: str) -> bool:
    return any(name == word or name.endswith(f"_{word}") for word in UNSTABLE)


def _plain(value: Any) -> Any:
    if torch.is_tensor(value) or isinstance(value, np.ndarray):
        return of_array(value)
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return {k: v for k, v in asdict(value).items() if not _unstable(k)}
    return value if isinstance(value, float | int | str | bool | type(None)) else str(value)


def answers(questions: Mapping[str, Callable[[], Any]]) -> Iterator[tuple[str, Hash]]:
    """The hash of each answer, or the words of the refusal; a mapping of answers gives one line each."""
    for name, ask in questions.items():
        try:
            answer = ask()
        except ValueError as error:
            yield name, Hash(f"refused: {error}")
            continue
        except Exception as error:  # a fault of the code or of the question is a finding, too
            yield name, Hash(f"raised {type(error).__name__}: {error}")
            continue
        if isinstance(answer, Mapping):
            yield from (
                (f"{name}/{key}", Hash(of_any(value))) for key, value in answer.items() if not _unstable(str(key))
            )
        else:
            yield name, Hash(of_any(answer))


def of_posterior(posterior: Posterior) -> Hashes:
    """Draws, moments, history, what it says of itself, and its main tables."""
    moments = {f"{s}/{k}": v for s, m in posterior.moments.items() for k, v in vars(m).items() if v is not None}
    history = {name: getattr(posterior.history, name) for name in ("reason", "elbo", "steps", "rate")}
    said = [posterior.guide, posterior.calibrated, posterior.seed, posterior.threshold, list(posterior.notes)]
    questions: dict[str, Callable[[], Any]] = {
        "draws": lambda: posterior.draws,
        "moments": lambda: moments,
        "history": lambda: history,
        "attributes": lambda: posterior.attributes,
        "about": lambda: said,
        "coords": lambda: dict(posterior.coords),
        "table": posterior.edges if posterior.model.axes == ("tf", "target") else posterior.programs,
        "trust": posterior.trust,
    }
    return dict(answers(questions))


def last_context(posterior: Posterior) -> str:
    """The name of a context, or of none."""
    return next(reversed(posterior.coords.get("context", ())), "none")


def of_views(posterior: Posterior, data: ExpressionData) -> Hashes:
    """Every table that a posterior can be asked for, refusals included."""
    gene, second, *_ = [*posterior.coords.get("tf", ()), "none", "nothing"]
    few = {"num_draws": 6}

    def cells() -> dict[str, Any]:
        found = find("pyrogrn.inference", "predict_cells")(posterior, data, num_observations=60, seed=3)
        names = ("observed", "mean", "sd", "labels")
        return {n: getattr(found, n) for n in names} | {"draw": found.draw(1), "density": found.log_likelihood()}

    def datatree(with_data: ExpressionData | None) -> dict[str, Any]:
        tree = posterior.to_datatree(with_data, seed=1)
        found: dict[str, Any] = {}
        for group in tree.groups:
            dataset = tree[group].to_dataset(inherit=False)
            found[f"{group} attributes"] = {k: v for k, v in dataset.attrs.items() if not _unstable(k)}
            for name, variable in dataset.variables.items():
                found[f"{group} {name}"] = of_plain([list(variable.dims), of_array(variable.values)])
        return found

    def come_back() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            posterior.save(Path(folder) / "fit")
            manifest = json.loads((Path(folder) / "fit" / "manifest.json").read_text())
            again = Posterior.load(Path(folder) / "fit")
        manifest["history"].pop("seconds")
        manifest.pop("pyrogrn")
        return {"manifest": manifest} | of_posterior(again)

    def course() -> pd.DataFrame:
        return posterior.course([0.0, 1.0, 2.0], knockout=[gene], num_draws=4).table(0.8)

    def activities() -> pd.DataFrame:
        """In 0.1.0 a function."""
        ask = getattr(posterior, "activities", None)
        return ask() if ask is not None else find("pyrogrn.inference", "activities")(posterior)

    def checks(with_data: ExpressionData | None) -> dict[str, Any]:
        table = posterior.diagnose(with_data)
        return {"values": table.drop(columns="meaning"), "words": table[["check", "meaning"]]}

    def scores() -> dict[str, Any]:
        return dict(zip(("mean", "sd"), posterior.scores(data), strict=True))

    questions: dict[str, Callable[[], Any]] = {
        "saved": come_back,
        "sample": lambda: posterior.sample(5, seed=2),
        "edges of 0.5 at fdr 0.4": lambda: posterior.edges(level=0.5, fdr=0.4, top=6),
        "edges of a context": lambda: posterior.edges(context=last_context(posterior)),
        "programs of the first": lambda: posterior.programs(
            level=0.5, program=posterior.coords.get("factor", ["none"])[0], top=3
        ),
        "factors": posterior.factors,
        "refined sets": posterior.refined_sets,
        "covariate effects": posterior.covariate_effects,
        "scores": scores,
        "activities": activities,
        "predict": lambda: posterior.predict(knockout=[gene], seed=2, **few),
        "predict over-expression": lambda: posterior.predict(overexpress={gene: 1.5}, level=0.5, seed=2, **few),
        "predict steps": lambda: posterior.predict(knockout=[gene], steps=2, **few),
        "predict in a context": lambda: posterior.predict(knockout=[gene], context=last_context(posterior), **few),
        "predict knock-down": lambda: posterior.predict(knockdown=[gene], **few),
        "predict knock-downs": lambda: posterior.predict(knockdown=[gene, second], **few),
        "predict knock-down in a context": lambda: posterior.predict(
            knockdown=[gene], context=last_context(posterior), level=0.5, **few
        ),
        "knockouts in a context": lambda: posterior.knockouts(num_draws=4, context=last_context(posterior)),
        "predict inputs": lambda: posterior.predict(inputs={gene: 0.5}, **few),
        "predict nothing": posterior.predict,
        "predict stranger": lambda: posterior.predict(knockout=["stranger"]),
        "knockouts": lambda: posterior.knockouts(num_draws=4, seed=1),
        "knockouts steps": lambda: posterior.knockouts(num_draws=4, steps=1),
        "flux": lambda: dict(zip(("table", "shares"), flux_table(posterior, num_draws=4), strict=True)),
        "flux of a context": lambda: flux_table(posterior, num_draws=4, context=last_context(posterior))[0],
        "course": course,
        "velocity": lambda: posterior.velocity(data, num_draws=4),
        "cells": cells,
        "diagnose": lambda: checks(None),
        "diagnose with data": lambda: checks(data),
        "datatree": lambda: datatree(None),
        "datatree with data": lambda: datatree(data),
    }
    if "tf" not in posterior.coords:
        questions = {name: ask for name, ask in questions.items() if not name.startswith("knockouts")}
    return dict(answers(questions))


# -- data ----


def linear_data(**options: Any) -> ExpressionData:
    """Seven genes, three of them regulators."""
    sizes: dict[str, Any] = {"num_genes": 7, "num_tfs": 3, "num_cells": 40, "edge_probability": 0.4, "seed": 3}
    return simulate_linear(**sizes | {"tf_correlation": 0.5} | options).data


def rich_data() -> ExpressionData:
    """Two contexts, two regulators knocked out."""
    return linear_data(num_contexts=2, num_perturbed=2, cells_per_perturbation=6, seed=4)


def networks_of(data: ExpressionData, *, signs: bool = True) -> dict[str, PriorNetwork]:
    """Two sources that agree in part, one of them with signs."""
    pairs = pd.DataFrame([(s, t) for s in data.tfs for t in data.genes if s != t], columns=["source", "target"])
    first = pairs.iloc[::2].assign(probability=0.9)
    if signs:
        first["sign"] = np.where(np.arange(len(first)) % 3 == 0, -1, 1)
    second = pairs.iloc[1::3].assign(probability=0.6)
    return {
        "motif": PriorNetwork.from_edges(first, name="motif"),
        "chip": PriorNetwork.from_edges(second, name="chip"),
    }


def evidence_of(data: ExpressionData) -> dict[str, Any]:
    """Two profiles of scores, one of which lacks a regulator, and a list."""
    rng = np.random.default_rng(0)
    shape = (len(data.tfs), len(data.genes))
    first, second = (
        pd.DataFrame(rng.normal(size=shape) + 2.0 * (rng.random(shape) < 0.4), list(data.tfs), list(data.genes))
        for _ in range(2)
    )
    second.iloc[1] = np.nan
    return {"access": first, "other": second, "list": networks_of(data)["chip"]}


def panel_data(num_contexts: int = 1) -> ExpressionData:
    """A knock-down panel of six genes."""
    return simulate_panel(num_genes=6, in_degree=2, num_contexts=num_contexts, num_controls=6, seed=2).data


def cellbox_data() -> ExpressionData:
    """A few conditions with inputs; every gene may be a source."""
    few = linear_data(num_cells=12)
    inputs = pd.DataFrame(np.random.default_rng(0).normal(size=(few.num_cells, 3)), columns=list(few.tfs))
    return replace(few, matrix=0.3 * (few.X - few.X.mean(0)), tfs=few.genes).with_inputs(inputs)


def course_data() -> ExpressionData:
    """Cells as points of courses of four."""
    data = linear_data()
    cell = np.arange(data.num_cells)
    return data.with_times((cell % 4) ** 1.5, [str(c) for c in cell // 4])


def ode_data() -> ExpressionData:
    """Courses of a network that is no regression."""
    return simulate_courses(num_genes=6, num_trajectories=5, noise=0.02, seed=3).data


def program_simulation(**options: Any) -> Any:
    """Ten genes in two gene sets."""
    sizes: dict[str, Any] = {"num_genes": 10, "num_cells": 30, "num_sets": 2, "set_size": 4, "seed": 5}
    return simulate_muvi(**sizes | options)


def programs_with_everything() -> Any:
    """Covariates and groups."""
    return program_simulation(num_covariates=2, correlation=0.4, num_groups=2)


# -- cases ----

Case = Callable[[], Hashes]
CASES: dict[str, Case] = {}


def add(name: str, case: Case) -> None:
    if name in CASES:
        raise ValueError(f"two cases are called {name!r}")
    CASES[name] = case


def shortened(model: Model) -> Any:
    """The default engine, for a few sweeps or rounds."""
    guide = default_guide(model)
    if isinstance(guide, Gibbs):
        return Gibbs(**CHEAP)
    if isinstance(guide, BlockDescent):
        return BlockDescent(restarts=2, max_iterations=5)
    return Pruned(epochs=2, num_samples=4, svi_steps=5, batch_size=4) if isinstance(guide, Pruned) else guide


def fitted(make: Callable[[], tuple[Model, ExpressionData]], views: bool, **options: Any) -> Case:
    """A case that fits a model; with ``views`` it asks every table as well."""

    def case() -> Hashes:
        model, data = make()
        chosen = {"guide": shortened(model), "seed": 1} | SHORT | options
        cells = {"none": None, "data": data, "numbered": getattr(model, "cells", None)}[chosen.pop("cells", "none")]
        posterior = fit(model, cells, **chosen)
        return of_posterior(posterior) | (of_views(posterior, data) if views else {})

    return case


def network_case(
    model_class: Any,
    data: Callable[[], ExpressionData],
    edge_prior: Callable[[], EdgePrior],
    *,
    networks: bool = False,
    signs: bool = True,
    evidence: bool = False,
    views: bool = False,
    model: Mapping[str, Any] | None = None,
    double: bool = False,
    **options: Any,
) -> Case:
    def make() -> tuple[Model, ExpressionData]:
        cells = data()
        knowledge = {"networks": networks_of(cells, signs=signs)} if networks else {}
        observed = {"evidence": evidence_of(cells)} if evidence else {}
        built = model_class.from_data(cells, edge_prior=edge_prior(), **knowledge, **observed, **(model or {}))
        return built.double() if double else built, cells

    return fitted(make, views, **options)


def program_case(model_class: Any, data: Callable[[], Any], *, views: bool = False, **options: Any) -> Case:
    given = options.pop("model", {})

    def make() -> tuple[Model, ExpressionData]:
        simulation = data()
        built = {name: value() if callable(value) else value for name, value in given.items()}
        if built.pop("sets", False):
            built |= {"gene_sets": {"sets": simulation.gene_sets}, "min_overlap": 2}
        return model_class.from_data(simulation.data, num_factors=2, **built), simulation.data

    return fitted(make, views, **options)


def add_models() -> None:
    """Every model by its default engine, under several priors; every table once for each model."""
    masked = lambda: HardMask(SpikeSlab())
    for prior in (Normal, Laplace, Horseshoe, SpikeSlab, LogitNormal, ElasticNet, Collaborative):
        add(f"linear {prior.__name__}", network_case(LinearNetwork, linear_data, prior))
    for prior in (Normal, Laplace, Horseshoe, LogitNormal, Collaborative):
        case = network_case(LinearNetwork, rich_data, prior, networks=True)
        add(f"linear {prior.__name__}, contexts, knock-outs, sources", case)
    add("linear Normal, tables", network_case(LinearNetwork, linear_data, Normal, networks=True, views=True))
    case = network_case(LinearNetwork, rich_data, SpikeSlab, networks=True, views=True)
    add("linear SpikeSlab, contexts, knock-outs, sources, tables", case)
    for base in (Normal, SpikeSlab, Horseshoe):
        case = network_case(LinearNetwork, rich_data, lambda base=base: HardMask(base()), networks=True)
        add(f"linear HardMask {base.__name__}", case)
    case = network_case(LinearNetwork, linear_data, lambda: SpikeSlab(strategy="scale"), networks=True)
    add("linear SpikeSlab by scale", case)
    case = network_case(LinearNetwork, linear_data, lambda: SpikeSlab(hub_scale=0.5), networks=True, double=True)
    add("linear SpikeSlab, hubs, double", case)
    for prior in (SpikeSlab, Normal):
        add(f"trajectory {prior.__name__}", network_case(TrajectoryNetwork, course_data, prior, networks=True))
    add("trajectory, tables", network_case(TrajectoryNetwork, course_data, SpikeSlab, views=True))
    add("phoenix, tables", network_case(Phoenix, ode_data, Normal, networks=True, model={"hidden": 3}, views=True))
    for prior in (SpikeSlab, Normal, Laplace, masked):
        name = getattr(prior, "__name__", "").replace("<lambda>", "HardMask")
        add(f"factorbox {name}", network_case(FactorBox, panel_data, prior, networks=True))
    case = network_case(FactorBox, lambda: panel_data(2), SpikeSlab, views=True, model={"hidden": 1})
    add("factorbox, contexts, hidden inputs, tables", case)
    add("factorbox, tables", network_case(FactorBox, panel_data, SpikeSlab, views=True))
    for prior in (Laplace, SpikeSlab):
        add(f"cellbox {prior.__name__}", network_case(CellBox, cellbox_data, prior, **CELLBOX))
    add("cellbox, tables", network_case(CellBox, cellbox_data, Laplace, networks=True, views=True, **CELLBOX))
    add("pmf-grn, tables", network_case(PMFGRN, linear_data, LogitNormal, networks=True, signs=False, views=True))
    add("pmf-grn SpikeSlab", network_case(PMFGRN, linear_data, SpikeSlab))
    case = network_case(Symphony, linear_data, SpikeSlab, evidence=True, networks=False, views=True)
    add("symphony, tables", case)
    for prior in (Normal, LogitNormal, Collaborative):
        add(f"symphony {prior.__name__}", network_case(Symphony, linear_data, prior, evidence=True))
    add("symphony without evidence", network_case(Symphony, rich_data, SpikeSlab, networks=True, views=True))
    add("netrex-cf, tables", network_case(NetREXCF, linear_data, ElasticNet, networks=True, views=True))
    add("netrex-cf SpikeSlab", network_case(NetREXCF, linear_data, SpikeSlab, networks=True))
    masked_net = lambda: HardMask(ElasticNet())
    add("netrex-cf HardMask ElasticNet", network_case(NetREXCF, linear_data, masked_net, networks=True))
    for model_class in (PPCA, MuVI):
        for loading in (NormalLoading, HorseshoeLoading, SpikeSlabLoading):
            case = program_case(model_class, programs_with_everything, model={"loading_prior": loading})
            add(f"{model_class.__name__} {loading.__name__}", case)
        add(f"{model_class.__name__}, tables", program_case(model_class, programs_with_everything, views=True))
    add("MuVI, gene sets, tables", program_case(MuVI, programs_with_everything, model={"sets": True}, views=True))


def add_engines() -> None:
    """Every engine at least once, on each kind of model that it has code of its own for."""
    gibbs, families = Gibbs(**CHEAP), (MeanField(), LowRank(rank=2), MapEstimate(), Blocked())
    for guide in families:
        case = network_case(LinearNetwork, linear_data, Normal, networks=True, views=True, guide=guide)
        add(f"{guide.name} of a network, tables", case)
        if not isinstance(guide, Blocked):
            case = network_case(LinearNetwork, rich_data, SpikeSlab, networks=True, guide=guide)
            add(f"{guide.name} of a network, contexts, sources", case)
    add("mean-field of factorbox", network_case(FactorBox, panel_data, SpikeSlab, guide=MeanField()))
    case = network_case(
        LinearNetwork, linear_data, Normal, guide=MeanField(), cells="data", batch_size=16, stop=NeverStop(),
        optimizer=Adam(lr=0.02),
    )  # fmt: skip
    add("mean-field, minibatches", case)
    case = network_case(CellBox, cellbox_data, Laplace, cells="data", batch_size=5, **CELLBOX)
    add("mean-field of cellbox, minibatches", case)
    case = network_case(PMFGRN, linear_data, LogitNormal, cells="numbered", batch_size=16, guide=MeanField())
    add("mean-field of pmf-grn, minibatches", case)
    case = network_case(LinearNetwork, linear_data, Normal, guide=MeanField(), jit=False)
    add("mean-field, not compiled", case)
    few = lambda: linear_data(num_genes=4, num_tfs=2, num_cells=20)
    nuts = NUTS(num_chains=2, num_warmup=3, num_samples=4)
    add("nuts, tables", network_case(LinearNetwork, few, SpikeSlab, guide=nuts, views=True))
    add("nuts of programs", program_case(PPCA, program_simulation, guide=NUTS(1, 2, 3)))
    bagging, ridge = Bagging(num_bags=8, chains=2), lambda: Normal(scale=0.3)
    add("bagging, tables", network_case(LinearNetwork, linear_data, ridge, guide=bagging, cells="data", views=True))
    masked = lambda: HardMask(Normal(scale=0.3))
    case = network_case(LinearNetwork, linear_data, masked, networks=True, guide=bagging, cells="data")
    add("bagging, masked", case)
    case = network_case(LinearNetwork, rich_data, SpikeSlab, guide=Gibbs(2, 4, 6, thin=2), networks=True, threshold=0.2)
    add("gibbs, thinned", case)
    add(
        "gibbs of Collaborative, tables",
        network_case(LinearNetwork, linear_data, Collaborative, guide=gibbs, views=True),
    )
    masked = lambda: HardMask(Collaborative(rank=1))
    add("gibbs of masked Collaborative", network_case(LinearNetwork, rich_data, masked, networks=True, guide=gibbs))
    case = network_case(Symphony, rich_data, SpikeSlab, networks=True, evidence=True, guide=gibbs, views=True)
    # a list is a source of `networks` as well there
    add("gibbs of evidence, contexts, tables", case)
    for sparsifier in ("imp", "bio", "none", "l0", "c-node", "pathreg"):
        guide = Pruned(sparsifier=sparsifier, epochs=2, num_samples=3, svi_steps=3, batch_size=4, num_chains=1)
        add(
            f"pruned by {sparsifier}",
            network_case(Phoenix, ode_data, Normal, networks=True, model={"hidden": 2}, guide=guide),
        )
    for weights, options in (("grnular", {}), ("glad", {}), ("glad-tf", {"correction": "importance"})):
        guide = Amortised(weights, num_chains=2, num_samples=6, **options)
        case = network_case(
            LinearNetwork, linear_data, SpikeSlab, guide=guide, cells="data", views=weights == "grnular"
        )
        add(f"amortised {weights}", case)
    guide = Amortised("grnular", num_chains=2, num_samples=4, fine_tune=2)
    case = network_case(LinearNetwork, linear_data, SpikeSlab, guide=guide, cells="data", networks=True)
    add("amortised, fine-tuned, sources", case)
    everything = {"model": {"sets": True, "loading_prior": HorseshoeLoading}}
    add(
        "gibbs of programs, tables", program_case(MuVI, programs_with_everything, guide=gibbs, views=True, **everything)
    )
    add("gibbs of PPCA", program_case(PPCA, programs_with_everything, guide=gibbs))
    case = program_case(MuVI, programs_with_everything, guide=gibbs, model={"loading_prior": SpikeSlabLoading})
    add("gibbs of SpikeSlabLoading", case)
    for guide in (MeanField(), LowRank(rank=2), MapEstimate()):
        add(f"{guide.name} of programs", program_case(MuVI, programs_with_everything, guide=guide, **everything))
    kinds: dict[str, dict[str, Any]] = {
        "missing values": {"missing": 0.15},
        "missing cells of a view": {"views": {"a": "gaussian", "b": "gaussian"}, "missing_cells": 0.2},
        "binary": {"views": {"open": "bernoulli"}, "num_covariates": 1},
        "binary and missing": {"views": {"open": "bernoulli", "rna": "gaussian"}, "missing": 0.1},
        "counts": {"views": {"counts": "negative-binomial"}},
    }
    for kind, options in kinds.items():
        data = lambda options=options: program_simulation(**options)
        model = {"likelihood": options.get("views", "gaussian")} | ({"depth": "none"} if kind == "counts" else {})
        add(
            f"blocked cell by cell, {kind}",
            program_case(MuVI, data, model=dict(model), views=kind == "binary and missing"),
        )
        if all(view == "gaussian" for view in options.get("views", {}).values()):
            add(f"gibbs cell by cell, {kind}", program_case(MuVI, data, model=dict(model), guide=Gibbs(2, 3, 4)))
    for loading in (NormalLoading, HorseshoeLoading, SpikeSlabLoading):
        model = {"loading_prior": loading, "integrate": False}
        case = program_case(MuVI, program_simulation, model=model, cells="data", batch_size=10)
        add(f"blocked of programs, minibatches, {loading.__name__}", case)
    model = {"sets": True, "integrate": False}
    add(
        "blocked of programs, not refreshed",
        program_case(MuVI, program_simulation, guide=Blocked(refresh=0), model=model),
    )


def add_others() -> None:
    """What is no single call of `fit`."""
    add("fit_many", _many)
    add("alternate", _alternate)
    add("number_of_factors", _num_factors)
    add("resumed gibbs", lambda: _resumed(SpikeSlab, Gibbs(**CHEAP)))
    add("resumed mean-field", lambda: _resumed(Normal, MeanField()))
    add("resumed blocked programs", _resumed_programs)
    add("scores of edges", _scored)
    add("ablate", _ablated)
    add("train", _trained)
    add("refused", _refused)


def _many() -> Hashes:
    data = linear_data()
    models = [
        LinearNetwork.from_data(data, networks=networks_of(data, signs=s), edge_prior=SpikeSlab()) for s in (True, True)
    ]
    other = linear_data(seed=8)
    models.append(LinearNetwork.from_data(other, networks=networks_of(other), edge_prior=SpikeSlab()))
    found = fit_many(models, guide=Gibbs(**CHEAP), seeds=(1, 2, 3))
    masked = [
        LinearNetwork.from_data(d, networks=networks_of(d), edge_prior=HardMask(SpikeSlab())) for d in (data, other)
    ]
    found += fit_many([model.double() for model in masked], guide=Gibbs(**CHEAP), seeds=5)
    hashes = {f"{i} {k}": v for i, p in enumerate(found) for k, v in of_posterior(p).items()}
    return hashes | dict(answers({"views": lambda: of_views(found[0], data)}))


def _alternate() -> Hashes:
    panels = find("pyrogrn.models", "panels_of")(panel_data())
    ridge = alternate(panels)
    sparse = alternate(panels, Penalties(ridge=1.0, sparsity=0.3, orthogonality=0.1), max_iterations=5)
    polished = refine(panels, ridge, max_iterations=4)
    parts = {
        "ridge": vars(ridge),
        "sparse": vars(sparse),
        "refined": polished._asdict() if hasattr(polished, "_asdict") else vars(polished),
    }
    return dict(answers({name: (lambda part=part: part) for name, part in parts.items()}))


def _num_factors() -> Hashes:
    data = program_simulation().data
    table = number_of_factors(lambda cells, k: PPCA(cells, num_factors=k), data, [1, 2])
    return dict(answers({"table": lambda: table}))


@contextmanager
def _checkpoint() -> Iterator[tuple[Path, Callable[[Any], None]]]:
    """A file, and a callback that stops the fit after some steps with a checkpoint there."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "fit.checkpoint", _StopAt(7)


class _StopAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, state: Any) -> None:
        if state.step >= self.step:
            raise KeyboardInterrupt

    def close(self) -> None:
        pass


def _interrupted(make: Callable[[], Model], guide: Any) -> Hashes:
    options: dict[str, Any] = {"guide": guide, "seed": 4, **SHORT}
    with _checkpoint() as (path, stop):
        with suppress(KeyboardInterrupt):
            fit(make(), callbacks=[Checkpoint(path), stop], **options)
        state = load_checkpoint(path)
        print_of = {k: str(v) for k, v in state["fingerprint"].items()}
        resumed = fit(make(), resume=state, **options)
    return {"fingerprint": of_plain(print_of), "keys": of_plain(sorted(state))} | of_posterior(resumed)


def _resumed(edge_prior: Callable[[], EdgePrior], guide: Any) -> Hashes:
    data = linear_data()
    return _interrupted(lambda: LinearNetwork.from_data(data, edge_prior=edge_prior()), guide)


def _resumed_programs() -> Hashes:
    simulation = program_simulation()
    return _interrupted(lambda: MuVI.from_data(simulation.data, num_factors=2), Blocked())


def _scored() -> Hashes:
    simulation = simulate_linear(num_genes=7, num_tfs=3, num_cells=40, edge_probability=0.4, seed=3)
    posterior = fit(LinearNetwork.from_data(simulation.data), guide=Gibbs(**CHEAP), seed=1)
    found = score_edges(posterior.edges(), simulation.network, num_bootstrap=20)
    edge_calibration = find("pyrogrn.inference", "edge_calibration")
    coverage = find("pyrogrn.inference", "coverage")
    calibration = lambda: vars(edge_calibration(posterior, simulation.present.numpy()))
    return dict(
        answers(
            {
                "scores": lambda: vars(found),
                "calibration": calibration,
                "coverage": lambda: coverage(posterior, simulation.W[0].numpy()),
            }
        )
    )


def _ablated() -> Hashes:
    simulation = simulate_linear(num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.4, seed=0)
    known = {"known": PriorNetwork.from_edges(simulation.network[["source", "target"]], name="known")}
    found = ablate(
        simulation.data, known, truth=simulation.network, seeds=(0, 1), effort=Effort(2, 5, 5, 10),
        methods=("linear",), backend="serial", progress=False,
    )  # fmt: skip
    tables = {"rows": found.rows, "trust": found.trust, "sources": found.sources}
    return dict(answers({name: (lambda table=table: table) for name, table in tables.items()}))


def _trained() -> Hashes:
    family = Family(genes=(14, 14), tf_share=(0.3, 0.3), types=(2, 2), cells=(60, 60), in_degree=(1.0, 2.0))
    schedule = Schedule(
        solver_batches=1, solver_epochs=1, solver_graphs=2, batches=2, graphs=2, steps=6, check_every=3, validation=2,
        test=2,
    )  # fmt: skip
    network, about = train("glad-tf", family=family, schedule=schedule, options={"num_iterations": 2}, seed=1)
    weights = {name: value for name, value in network.state_dict().items() if name != "worlds"}
    data = linear_data(num_genes=10, num_tfs=4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.npz"
        save_weights(network, path, {**about, "command": "freeze"})
        guide = Amortised(str(path), num_chains=2, num_samples=4)
        posterior = fit(LinearNetwork.from_data(data, edge_prior=SpikeSlab()), data, guide=guide, seed=2)
    return dict(answers({"weights": lambda: weights})) | of_posterior(posterior)


def _refused() -> Hashes:
    """The words with which `fit` turns down what does not go together."""
    linear, panel, courses = linear_data(), panel_data(), ode_data()
    box, network = FactorBox.from_data(panel), LinearNetwork.from_data(linear, edge_prior=Normal())
    dense, spike = LinearNetwork.from_data(rich_data(), edge_prior=Normal()), LinearNetwork.from_data(linear)
    phoenix = Phoenix.from_data(courses, hidden=2)
    programs = MuVI.from_data(program_simulation().data, num_factors=2)
    pairs: dict[str, tuple[Model, Any]] = {
        f"{type(model).__name__} {place} by {guide.name}": (model, guide)
        for place, model in enumerate((box, dense, spike, network, phoenix, programs))
        for guide in (Blocked(), Gibbs(1, 1, 1), Bagging(2, 1), BlockDescent(1, 1), Pruned(epochs=1), Amortised())
    }
    questions: dict[str, Callable[[], Any]] = {}
    for name, (model, guide) in pairs.items():
        questions[name] = lambda model=model, guide=guide: (
            fit(model, guide=guide, num_steps=2, num_draws=2, restarts=1).moments["W"].mean
            if not (isinstance(guide, Pruned) and model is phoenix)
            else "fits"
        )
    questions["box in batches"] = lambda: fit(box, panel, batch_size=4)
    questions["batches without cells"] = lambda: fit(network, batch_size=4)
    questions["gibbs in batches"] = lambda: fit(spike, linear, guide=Gibbs(1, 1, 1), batch_size=4)
    questions["nothing drawn"] = lambda: fit(network, num_draws=0)
    return dict(answers(questions))


add_models()
add_engines()
add_others()


# -- command ----


def run(only: str = "", *, progress: Callable[[str], None] = lambda text: None) -> dict[str, str]:
    """The hashes of all cases whose name contains ``only``, as ``"case | item"``."""
    found: dict[str, str] = {}
    for name, case in CASES.items():
        if only not in name:
            continue
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hashes = dict(answers({"": case}))
        found |= {f"{name} | {item.removeprefix('/')}": value for item, value in hashes.items()}
        progress(f"{time.monotonic() - started:6.2f} s  {name}")
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """One line for each item that is new, gone or other."""
    lines = [f"gone     {name}" for name in sorted(before.keys() - after.keys())]
    lines += [f"new      {name}" for name in sorted(after.keys() - before.keys())]
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            said = any(text.startswith(("refused", "raised")) for text in (before[name], after[name]))
            words = f"\n         was {before[name]}\n         is  {after[name]}" if said else ""
            lines.append(f"differs  {name}{words}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Write the hashes, or compare them with a file; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file to write")
    parser.add_argument("--compare", type=Path, help="file of an earlier run to compare with")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, default 1")
    parser.add_argument("--times", action="store_true", help="print the seconds of each case")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(f"pyrogrn of {Path(pyrogrn.__file__).parent}")
    found = run(options.only, progress=print if options.times else lambda text: None)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
        print(f"{len(found)} hashes of {len(CASES)} cases in {options.out}")
    if options.compare is None:
        return 0
    before = json.loads(options.compare.read_text())
    before = {name: value for name, value in before.items() if options.only in name.split(" | ")[0]}
    lines = differences(before, found)
    print("\n".join(lines) if lines else f"all {len(found)} hashes are equal")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
