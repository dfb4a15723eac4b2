"""Names and options of the command line, as the objects they stand for."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pandas as pd
import torch

from ...inference import GUIDES, SAMPLERS, MeanField, Pruned
from ...inference.amortised import load_weights
from ...inference.choice import row_of
from ...models import LIKELIHOODS, Model
from ...priors import EDGE_PRIORS, LOADING_PRIORS, EdgePrior, HardMask, LoadingPrior, PriorNetwork, read_gmt
from ...priors.evidence import read_scores
from ..files.network_files import NetworkFile
from .terminal import say

EDGE_PRIOR_NAMES = {
    "normal": "Normal",
    "laplace": "Laplace",
    "horseshoe": "Horseshoe",
    "spike-slab": "SpikeSlab",
    "hard-mask": "HardMask",
    "elastic-net": "ElasticNet",
    "collaborative": "Collaborative",
    "logit-normal": "LogitNormal",
}
LOADING_PRIOR_NAMES = {"normal": "NormalLoading", "horseshoe": "HorseshoeLoading", "spike-slab": "SpikeSlabLoading"}
FIT_OPTIONS = ("num_draws", "threshold")


def parse_settings(settings: Sequence[str], *, trial: bool = False) -> dict[str, dict[str, Any]]:
    """``["prior.spike_ratio=0.02", "guide.num_chains=2"]`` → ``{"prior": {...}, "guide": {...}, "model": {}, ...}``.

    Raises
    ------
    ValueError
        No ``=``, an unknown group, or a value that is neither a number nor a word.
    """
    groups: dict[str, dict[str, Any]] = {"model": {}, "prior": {}, "guide": {}, "fit": {}}
    groups |= {"calibrate": {}} if trial else {}
    for setting in settings:
        key, sep, text = setting.partition("=")
        group, dot, name = key.strip().partition(".")
        if not sep or not dot or group not in groups:
            raise ValueError(
                f"--set {setting}: expected model.NAME=VALUE, prior.NAME=VALUE, guide.NAME=VALUE or "
                "fit.NAME=VALUE, for example prior.spike_ratio=0.02"
            )
        groups[group][name] = _value(text.strip())
    unknown = sorted(set(groups["fit"]) - set(FIT_OPTIONS))
    if unknown:
        raise ValueError(f"--set fit.{unknown[0]}: unknown, choose from {', '.join(FIT_OPTIONS)}")
    return groups


def parse_columns(text: str | None) -> list[str]:
    """``"batch,age"`` → the columns."""
    columns = [] if text is None else [name.strip() for name in text.split(",")]
    if "" in columns or len(set(columns)) < len(columns):
        raise ValueError(f"--covariates {text}: expected COL[,COL...], each column once")
    return columns


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def make(kind: type, options: Mapping[str, Any], group: str) -> Any:
    """Build ``kind(**options)``; unknown names and values it refuses are one-line errors that list what it takes."""
    known = {n: p.annotation for n, p in inspect.signature(kind).parameters.items() if n not in ("self", "base")}
    options = {name: _none_of(value, known.get(name)) for name, value in options.items()}
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"--set {group}.{name}: {kind.__name__} takes {', '.join(known) or 'no options'}")
        if isinstance(value, str) and not _takes_text(known[name]):
            raise ValueError(f"--set {group}.{name}={value[:40]}: expected a number (or true, false)")
    try:
        return kind(**options)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"--set {group}.*: {kind.__name__} refused {dict(options)}: {error}") from error


def _none_of(value: Any, annotation: Any) -> Any:
    """``None`` for the word, of a parameter that takes it and no other word: ``prior.slab=none``."""
    says_none = isinstance(value, str) and value.lower() == "none"
    return None if says_none and type(None) in get_args(annotation) and not _takes_text(annotation) else value


def default_prior_name(model: type[Model]) -> str:
    """What the command line calls the prior that a model has by default."""
    names = {kind: name for table in (EDGE_PRIOR_NAMES, LOADING_PRIOR_NAMES) for name, kind in table.items()}
    kind = row_of(model).prior
    assert kind is not None, "every model of the package has one"
    return names[kind.__name__]


def _takes_text(annotation: Any) -> bool:
    """Whether a parameter may be a word; one that says nothing of itself may be anything."""
    if isinstance(annotation, str):
        return "str" in annotation or "Literal" in annotation
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return any(isinstance(part, str) for part in parts)
    return annotation in (str, Any, Path, inspect.Parameter.empty) or any(_takes_text(part) for part in parts)


def make_edge_prior(name: str, options: Mapping[str, Any]) -> EdgePrior:
    """The edge prior of that name; ``hard-mask`` is HardMask over Normal, ``hard-mask:spike-slab`` over another."""
    outer, _, inner = name.partition(":")
    if outer not in EDGE_PRIOR_NAMES or (inner and (outer != "hard-mask" or inner not in EDGE_PRIOR_NAMES)):
        raise ValueError(f"unknown edge prior {name!r}: choose one of {', '.join(EDGE_PRIOR_NAMES)}, or hard-mask:NAME")
    classes = {c.__name__: c for c in EDGE_PRIORS}
    if outer != "hard-mask":
        return make(classes[EDGE_PRIOR_NAMES[outer]], options, "prior")
    return HardMask(make(classes[EDGE_PRIOR_NAMES[inner or "normal"]], options, "prior"))


def make_loading_prior(name: str, options: Mapping[str, Any]) -> LoadingPrior:
    """The loading prior of that name."""
    if name not in LOADING_PRIOR_NAMES:
        raise ValueError(f"unknown loading prior {name!r}: choose one of {', '.join(LOADING_PRIOR_NAMES)}")
    classes = {c.__name__: c for c in LOADING_PRIORS}
    return make(classes[LOADING_PRIOR_NAMES[name]], options, "prior")


def read_gene_sets(entries: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """``["hallmark=h.gmt", "kegg.gmt.gz"]`` → gene sets by library; a plain file is named by its stem.

    Raises
    ------
    ValueError, FileNotFoundError
        An entry without a file or name, a library given twice, a set in two libraries, or a file that is no GMT.
    """
    libraries: dict[str, dict[str, tuple[str, ...]]] = {}
    origin: dict[str, str] = {}
    for entry in entries:
        name, sep, file = entry.partition("=")
        if not sep or Path(entry).exists():
            file = entry
            name = Path(entry).name.removesuffix(".gz").removesuffix(".gmt")
        if not name or not file:
            raise ValueError(f"--gene-sets {entry}: expected LIBRARY=FILE.gmt, or FILE.gmt")
        if name in libraries:
            raise ValueError(f"--gene-sets {name}: given twice, each library needs its own name")
        if not Path(file).is_file():
            raise FileNotFoundError(f"--gene-sets {entry}: no such file: {file}")
        libraries[name] = read_gmt(file)
        twice = next((known for known in libraries[name] if known in origin), None)
        if twice is not None:
            raise ValueError(
                f"--gene-sets: set {twice!r} is in {origin[twice]!r} and in {name!r}: programs are named by their "
                "sets, rename one"
            )
        origin |= dict.fromkeys(libraries[name], name)
    return libraries


def parse_likelihoods(entries: Sequence[str]) -> str | dict[str, str]:
    """``["bernoulli"]`` → one for all views; ``["rna=negative-binomial", "atac=bernoulli"]`` → one by view."""
    pairs = [entry.rpartition("=") for entry in entries]
    for entry, (view, sep, name) in zip(entries, pairs, strict=True):
        if name not in LIKELIHOODS or (sep and not view):
            raise ValueError(
                f"--likelihood {entry}: expected NAME or VIEW=NAME with NAME one of {', '.join(LIKELIHOODS)}"
            )
    if len(pairs) == 1 and not pairs[0][1]:
        return pairs[0][2]
    views = [view for view, _, _ in pairs]
    if "" in views or len(set(views)) < len(views):
        raise ValueError(f"--likelihood {' '.join(entries)}: give one NAME, or VIEW=NAME once for each view")
    return {view: name for view, _, name in pairs}


GUIDE_WORDS = {"svi": MeanField.name}
"""Other words for a guide."""


def make_guide(
    name: str | None,
    options: Mapping[str, Any],
    default: Any,
    *,
    restarts: int | None,
    steps: int | None,
    budget: float | None = None,
) -> Any:
    """The guide of that name, or the default with options.

    ``restarts`` are the chains of a sampler, ``steps`` its kept draws by chain; for variational guides both go to
    `fit`. ``budget`` are minutes, of engines that can end early.
    """
    classes = {c.name: c for c in (*GUIDES, *SAMPLERS, Pruned)}
    name = GUIDE_WORDS.get(name, name) if name is not None else None
    if name is not None and name not in classes:
        raise ValueError(f"unknown guide {name!r}: choose one of {', '.join((*GUIDE_WORDS, *classes))}")
    kind = type(default) if name is None else classes[name]
    options = kind.asked(restarts, steps) | dict(options)
    if budget is not None:
        if "budget" not in {f.name for f in fields(kind)}:
            raise ValueError(f"--budget is for the guide sparse, this is {kind.name}: leave it out, or lower --steps")
        options.setdefault("budget", budget)
    if name is None:
        options = {f.name: getattr(default, f.name) for f in fields(default)} | options
    return make(kind, options, "guide")


def parse_levels(option: str, entries: Sequence[str] | None) -> dict[str, float]:
    """``["SPI1=2.5"]`` → ``{"SPI1": 2.5}``."""
    levels: dict[str, float] = {}
    for entry in entries or []:
        name, _, value = entry.partition("=")
        try:
            levels[name] = float(value)
        except ValueError:
            raise ValueError(f"{option} {entry}: expected NAME=VALUE with a number") from None
    return levels


def check_kind(method: str, weights: str) -> None:
    """Refuse weights of another kind than the method that is asked for."""
    kind = load_weights(weights)[0].kind
    if kind != method:
        raise ValueError(f"--set guide.weights={weights}: these are weights of {kind}: use --method {kind}")


def read_priors(entries: Sequence[str]) -> dict[str, PriorNetwork]:
    """``["motif=prior.csv", ...]`` → networks by name of the source.

    A file may carry ``?KEY=VALUE[&KEY=VALUE]``: ``format=NAME`` forces a format, ``signed=false`` ignores signs,
    ``duplicates=error``, ``mean``, ``conflict`` or ``networks`` says what repeated edges mean, ``genes=FILE`` names the
    genes of a matrix without names; any other key picks the rows of a file that holds several networks
    (``sim=priors.csv.gz?noise=0.05``). What was not used of a file is said.
    """
    networks: dict[str, PriorNetwork] = {}
    for entry in entries:
        name, sep, path = entry.partition("=")
        if not sep or not name or "?" in name or not path:
            raise ValueError(f"--prior {entry}: expected NAME=FILE, for example motif=prior.csv")
        if name in networks:
            raise ValueError(f"--prior {name}: given twice, each source needs its own name")
        networks[name] = NetworkFile.parse(path).read(name)
        for note in networks[name].notes:
            say(f"prior '{name}': {note}")
    return networks


def read_evidence(scores: Sequence[str], lists: Sequence[str]) -> dict[str, pd.DataFrame | PriorNetwork]:
    """``["ATAC=scores.csv"]`` and ``["chip=edges.csv"]`` → observed evidence by name, for `Symphony`."""
    found: dict[str, pd.DataFrame | PriorNetwork] = dict(read_priors(lists))
    for entry in scores:
        name, sep, path = entry.partition("=")
        if not sep or not name or not path:
            raise ValueError(f"--evidence {entry}: expected NAME=FILE, for example ATAC=scores.csv")
        if name in found:
            raise ValueError(f"--evidence {name}: given twice, each source needs its own name")
        found[name] = read_scores(path)
    return found


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; asking for CUDA where there is none is an error, not a silent fall-back."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") and not name.startswith("cuda:"):
        raise ValueError(f"unknown device {name!r}: choose auto, cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            "device cuda was asked for and this machine has none that torch can use: choose --device cpu or auto"
        )
    return torch.device(name)
