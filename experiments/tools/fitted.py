"""Cells out of an AnnData, a model of them, its fit, and the results back: what the functions of `tl` share."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ...inference import Posterior, Progress, fit
from ...inference.engines.base import Engine
from ...models import ExpressionData
from ...models.data.accepts import AS_READ, READING
from ...models.data.containers import is_anndata, is_mudata, layer_of
from ...models.data.views import modality_of
from ..commands.options import make_guide, pick_device
from ..files.needed_notes import needed_notes
from ..files.readers import read_expression
from ..files.scale_notes import expects_of, scale_notes
from ..fitting import METHODS, default_engine, refuse_diverged
from ..preflight import AUTO, Suggestion, normalization_for, preflight, suggested
from ..remedies import MENDED, remedies
from .trial import maker, tried
from .written import write_fit

logger = logging.getLogger(__name__)


def check_method(method: str, among: tuple[str, ...], function: str) -> Any:
    """The class of models of a method, one of those that a function of `tl` is for.

    Raises
    ------
    ValueError
        Another one, with what there is.
    """
    if method not in among:
        raise ValueError(f"method {method!r}: tl.{function} takes {', '.join(among)}")
    return METHODS[method]


def annotated_cells(adata: Any, modality: str | None) -> Any:
    """What is read and written to: the AnnData, or that of the modality of a MuData.

    Raises
    ------
    ValueError
        Neither an AnnData nor a MuData; a modality of an AnnData, or one that is not there.
    """
    if not (is_anndata(adata) or is_mudata(adata)):
        raise ValueError(
            f"expected an AnnData or a MuData and found {type(adata).__name__}: of other cells use "
            "pyrogrn.read_expression and pyrogrn.fit"
        )
    if modality is None:
        return adata
    if is_anndata(adata):
        raise ValueError(f"modality {modality!r} is of a MuData, and this is an AnnData: leave it out")
    modality_of(adata, modality)  # refuses names that are not there
    return adata.mod[modality]


class FitOptions(NamedTuple):
    """How a fit is made and where it is written: arguments of the functions of `tl` of the same names."""

    guide: str | Engine | None
    steps: int | None
    restarts: int | None
    seed: int
    device: str
    level: float
    key: str
    progress: bool
    calibrate: bool = False


def run(
    adata: Any,
    *,
    function: str,
    method: str,
    reading: Mapping[str, Any],
    chosen: Mapping[str, Any],
    options: FitOptions,
    known: Mapping[str, Collection[str]] | None = None,
) -> Posterior:
    """Read, fit, check and write.

    Parameters
    ----------
    adata
        AnnData or MuData.
    function, method
        Of `tl`, and the model's name on the command line.
    reading
        Arguments of `read_expression`.
    chosen
        Arguments of the model's ``from_data``, beside the data.
    options
        Of the fit.
    known
        Other names of genes, as of `read_expression`.
    """
    place = annotated_cells(adata, reading.get("modality"))
    likelihood = chosen.get("likelihood", "gaussian")
    normalize = normalization_for(method, reading.get("normalize", "none"), counted=likelihood != "gaussian")
    layer = layer_of(reading.get("layer"), reading.get("use_raw", False))
    drop = False if "inputs" in METHODS[method].needs else None  # on a node of CellBox that is still, inputs may act
    reading = {**reading, "layer": layer, "use_raw": False, "normalize": normalize, "drop_constant": drop}
    data = read_expression(adata, **reading, known=known)
    target = pick_device(options.device)
    model = METHODS[method].from_data(data, **chosen).to(target)
    expects = expects_of(method) if default_engine(method, model).learns_on_simulations else model.expects
    notes = [*needed_notes(model, data), *model.evidence_notes]
    notes += scale_notes(data, expects, method=method, normalize=normalize, in_python=True)
    for note in notes:
        logger.warning(note)
    lines = preflight(
        data,
        method,
        expects=expects,
        normalize=normalize,
        suggestion=_suggestion(data, chosen, reading),
        used=[reading.get(name) for name in ("context_key", "perturbation_key", "time_key", "trajectory_key")],
        in_python=True,
    )
    for line in lines:
        logger.info(line)
    data = data.with_missing(data.missing, *notes)
    default = default_engine(method, model)
    engine: Any = options.guide
    if engine is None or isinstance(engine, str):
        engine = make_guide(engine, {}, default, restarts=options.restarts, steps=options.steps)
    found = None
    if options.calibrate:
        found, said = tried(data, model, engine, chosen, seed=options.seed)
        logger.info(said)
        lines.append(said)
    reads_cells = getattr(engine, "reads_cells", False)
    posterior = fit(
        model,
        data.to(target) if reads_cells else None,
        guide=engine,
        num_steps=options.steps,
        restarts=options.restarts,
        seed=options.seed,
        callbacks=(Progress(),) if options.progress else (),
    )
    posterior = refuse_diverged(posterior).with_notes(data.notes)
    if found is not None:
        posterior = found.apply(posterior, data.to("cpu"), chosen["networks"], make=maker(model, chosen))
    settings = {
        "function": function,
        "method": method,
        "guide": repr(engine),
        "seed": options.seed,
        "level": options.level,
        "device": str(target),
        "reading": {**reading, "tfs": None if reading.get("tfs") is None else list(data.tfs), "inputs": None},
    }
    posterior = replace(posterior, attributes={**posterior.attributes, AS_READ: as_read(adata, reading, data)})
    checks = posterior.diagnose(data)
    mended = remedies(
        checks,
        posterior,
        engine,
        steps=options.steps,
        restarts=options.restarts,
        budget=getattr(engine, "budget", None),
        as_measured=data if normalize == "none" else None,
        in_python=True,
    )
    for line in mended:
        logger.log(logging.WARNING if line.startswith(MENDED) else logging.INFO, line)
    write_fit(
        place,
        posterior,
        data,
        checks,
        preflight=lines,
        mended=mended,
        settings=settings,
        level=options.level,
        key=options.key,
    )
    return posterior


def as_read(adata: Any, reading: Mapping[str, Any], data: ExpressionData) -> dict[str, Any]:
    """What of the options of `read_expression` its like in the models takes, where it is not the default; ``auto`` as
    what it was for these cells."""
    named = {**reading, "covariate_keys": list(reading.get("covariates") or ())}
    if named["normalize"] == AUTO:
        named["normalize"] = "none" if data.transform is None else "log1p-cpm"
    if not is_mudata(adata):
        named.pop("modality", None)
    defaults = {p.name: p.default for p in READING if p.name not in ("tfs", "use_raw")}
    return {name: named[name] for name, usual in defaults.items() if named.get(name) not in (None, [], usual)}


def _suggestion(data: ExpressionData, chosen: Mapping[str, Any], reading: Mapping[str, Any]) -> Suggestion:
    """The method to begin with."""
    return suggested(
        data,
        inputs=reading.get("inputs") is not None,
        times=data.time is not None,
        perturbed=data.perturbed is not None,
        programs="networks" not in chosen,
        evidence="evidence" in chosen,
    )
