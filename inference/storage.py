"""Saving a posterior and loading it elsewhere: plain arrays and one JSON manifest, no pickle."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import nn

from ..models import Model
from ..priors import EDGE_PRIORS, LOADING_PRIORS, AlignmentReport, EdgeKnowledge, EdgePrior, Hyper
from .answers.registry import answers_of
from .archives import digest_of, read_arrays
from .choice import known_models
from .draws.description import describe, hyper_of, package_version
from .draws.fitted import PosteriorLike
from .draws.moments import EdgeMoments
from .runs.history import History
from .storage_checks import check_attributes, check_draws, check_model, check_names, check_numbers

FORMAT = "pyrogrn-posterior"
VERSION = 1  # raise it when an older pyrogrn could not read what `save` writes
LONGEST_REASON = 200  # letters of another library's message; zipfile quotes all the bytes that it took for a name
MANIFEST, DRAWS, MODEL = "manifest.json", "draws.npz", "model.npz"


# -- saving ----
def save(posterior: PosteriorLike[Model], folder: Path) -> None:
    """Write ``posterior`` into ``folder``.

    ``manifest.json`` has everything that is not an array; ``draws.npz`` draws, moments and history; ``model.npz``
    (compressed) the sufficient statistics and the prior networks on the model's axes. The expression data are not kept.
    The files are written to a hidden folder beside it, which is then renamed: ``folder`` is complete or not there.

    Raises
    ------
    ValueError
        ``folder`` exists and is not a saved posterior (one is replaced, anything else is left alone); it cannot be
        written; or an attribute of the posterior is neither a plain value nor an array.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    arrays, plain = _split(posterior.attributes)
    draws = {f"draws/{name}": value for name, value in posterior.draws.items()}
    draws |= {f"moments/{s}/{f.name}": getattr(m, f.name) for s, m in posterior.moments.items() for f in fields(m)}
    draws |= {f"history/{name}": getattr(posterior.history, name) for name in ("elbo", "steps", "rate")}
    draws |= {f"attributes/{name}": value for name, value in arrays.items()}
    model, knowledge = posterior.model, posterior.model.knowledge
    buffers = {f"buffers/{name}": value for name, value in model.named_buffers(recurse=False)}
    tables = {f"knowledge/{name}": getattr(knowledge, name) for name in ("probability", "sign", "allowed")}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "pyrogrn": package_version(),
        "model": {"class": type(model).__name__, "state": model.to_state(), "hyper": hyper_of(model)},
        "knowledge": {
            "tfs": list(knowledge.tfs),
            "targets": list(knowledge.targets),
            "sources": list(knowledge.sources),
            "reports": {name: report.to_dict() for name, report in knowledge.reports.items()},
        },
        "edge_prior": describe(model.edge_prior),
        "history": {"reason": posterior.history.reason, "seconds": posterior.history.seconds},
        "guide": posterior.guide,
        "calibrated": posterior.calibrated,
        "seed": posterior.seed,
        "threshold": posterior.threshold,
        "notes": list(posterior.notes),
        "attributes": plain,
    }
    _text_of(manifest)  # before anything is written
    scratch = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        scratch.mkdir(parents=True)
        np.savez(scratch / DRAWS, **draws)  # type: ignore[arg-type]  # numpy types every keyword as its own
        model_arrays = {name: value.detach().cpu().numpy() for name, value in (buffers | tables).items()}
        np.savez_compressed(scratch / MODEL, **model_arrays)
        manifest["sha256"] = {name: digest_of(scratch / name) for name in (DRAWS, MODEL)}
        (scratch / MANIFEST).write_text(_text_of(manifest) + "\n", encoding="utf-8")
        _put_in_place(scratch, folder)
    except OSError as error:
        raise ValueError(f"cannot write {folder}: {error.strerror or error}. Choose another folder") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _text_of(manifest: Mapping[str, Any]) -> str:
    try:
        return json.dumps(manifest, indent=1, allow_nan=False, default=_as_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"cannot save the posterior: {error}. Attributes may be plain values or numpy arrays"
        ) from error


def _check_replaceable(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder to write to: choose another name")
    if any(folder.iterdir()) and not _is_posterior(folder):
        raise ValueError(
            f"{folder} exists and is not a saved posterior, so it is not overwritten: choose another folder"
        )


def _is_posterior(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    known = {MANIFEST, DRAWS, MODEL}
    return (
        isinstance(manifest, dict) and manifest.get("format") == FORMAT and {p.name for p in folder.iterdir()} <= known
    )


def _put_in_place(scratch: Path, folder: Path) -> None:
    """Rename; an older posterior is moved aside first and comes back should that fail."""
    if not folder.exists():
        os.rename(scratch, folder)
        return
    old = scratch.with_suffix(".old")
    os.rename(folder, old)
    try:
        os.rename(scratch, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old)


def _split(attributes: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Attributes that are arrays, and the others."""
    arrays = {name: value for name, value in attributes.items() if isinstance(value, np.ndarray)}
    objects = [name for name, value in arrays.items() if value.dtype.hasobject]  # numpy would pickle them
    if objects:
        raise ValueError(f"attributes {objects} are arrays of Python objects: expected numbers, booleans or strings")
    return arrays, {name: value for name, value in attributes.items() if name not in arrays}


def _as_plain(value: Any) -> Any:
    """numpy and torch scalars as Python numbers; anything else is refused."""
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.dim() == 0):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__} has no place in the manifest")


# -- loading ----
def load(folder: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` has written: the fields of a `Posterior`, by name.

    Parameters
    ----------
    folder
        The folder given to `save`.
    device
        Where the model is put, whatever it was fitted on. Draws are always in main memory.

    Returns
    -------
    dict
        What `Posterior` is made of; the one made of them equals the saved one: the same edges, predictions, samples,
        diagnostics.

    Raises
    ------
    ValueError
        Nothing there, not a saved posterior, written by a newer version, or damaged; in one line that names the file.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    draws, tables = _read_arrays(folder / DRAWS), _read_arrays(folder / MODEL)
    try:
        check_names(manifest)
        check_numbers({name: value for name, value in draws.items() if not name.startswith("attributes/")})
        model = _build_model(manifest, tables).to(device)
        check_model(model)
        moments = {
            site: EdgeMoments(*(draws[f"moments/{site}/{f.name}"] for f in fields(EdgeMoments)))
            for site in dict.fromkeys(key.split("/")[1] for key in draws if key.startswith("moments/"))
        }
        check_draws(model, _under("draws/", draws), moments)
        attributes = {**manifest["attributes"], **_under("attributes/", draws)}
        check_attributes(attributes)
        chains = max((len(value) for name, value in draws.items() if name.startswith("draws/")), default=0)
        answers_of(model).check_kept(model, attributes, chains)
        history = History(
            reason=manifest["history"]["reason"],
            seconds=manifest["history"]["seconds"],
            elbo=draws["history/elbo"],
            steps=draws["history/steps"],
            rate=draws["history/rate"],
        )
        _check_unchanged(folder, manifest)
        return {
            "model": model,
            "draws": _under("draws/", draws),
            "moments": moments,
            "history": history,
            "guide": manifest["guide"],
            "calibrated": manifest["calibrated"],
            "seed": manifest["seed"],
            "threshold": manifest["threshold"],
            "notes": tuple(manifest["notes"]),
            "attributes": attributes,
        }
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"{folder / MANIFEST} does not describe a posterior that can be rebuilt ({type(error).__name__}: {error}): "
            "the file was changed or is incomplete; save the posterior again"
        ) from error


def _check_unchanged(folder: Path, manifest: Mapping[str, Any]) -> None:
    """The arrays are those that were saved; posteriors of versions that kept no hash are taken as they are."""
    for name, digest in manifest.get("sha256", {}).items():
        if name in (DRAWS, MODEL) and digest_of(folder / name) != digest:
            raise ValueError(
                f"{folder / name} was changed since the posterior was saved (its hash is not that of {MANIFEST}): copy "
                "it again, or save the posterior again"
            )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: give the folder that Posterior.save has written")
    if not path.is_file():
        raise ValueError(f"{path} is missing: {folder} is not a saved posterior")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): save the posterior again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is not the manifest of a saved posterior: expected format {FORMAT!r}")
    written = manifest.get("version")
    if not isinstance(written, int) or written < 1:
        raise ValueError(f"{path} has format version {written!r}, expected a whole number from 1 to {VERSION}")
    if written > VERSION:
        raise ValueError(
            f"{path} has format version {written} (pyrogrn {manifest.get('pyrogrn')}), this pyrogrn "
            f"{package_version()} reads up to {VERSION}: install a newer pyrogrn"
        )
    return manifest


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as handle:
            return read_arrays(handle)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: the saved posterior is incomplete, save it again") from None
    except MemoryError:
        raise
    except Exception as error:  # numpy, zipfile and zlib meet damage with errors of ten kinds
        reason = str(error).splitlines()[0][:LONGEST_REASON] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is damaged or truncated ({reason}): copy it again or save the posterior again"
        ) from error


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _build_model(manifest: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> Model:
    described, known = manifest["model"], manifest["knowledge"]
    reports = {name: _build_report(report) for name, report in known["reports"].items()}
    tables_of = {name: torch.from_numpy(value) for name, value in _under("knowledge/", tables).items()}
    knowledge = EdgeKnowledge(
        tfs=tuple(known["tfs"]),
        targets=tuple(known["targets"]),
        sources=tuple(known["sources"]),
        probability=tables_of["probability"],
        sign=tables_of["sign"],
        allowed=tables_of["allowed"],
        reports=reports,
    )
    model = _class(described["class"], tuple(known_models().values())).from_state(
        described["state"],
        knowledge=knowledge,
        edge_prior=_build_prior(manifest["edge_prior"]),
        buffers={name: torch.from_numpy(value) for name, value in _under("buffers/", tables).items()},
    )
    _set_hyper(model, described["hyper"])
    return model


def _build_report(values: Mapping[str, Any]) -> AlignmentReport:
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return AlignmentReport(**plain)


def _build_prior(described: Mapping[str, Any]) -> EdgePrior:
    prior = _class(described["class"], (*EDGE_PRIORS, *LOADING_PRIORS))()
    prior.strategy = described["strategy"]
    prior.measured_in = described.get("unit", "sd")
    for name, text in described.get("constants", {}).items():
        prior.register_buffer(name, torch.tensor(float(text)))
    _set_hyper(prior, described["hyper"])
    for name, nested in described["nested"].items():
        setattr(prior, name, _build_prior(nested))
    return prior


def _set_hyper(module: nn.Module, described: Mapping[str, Any]) -> None:
    for name, hyper in described.items():
        if not isinstance(getattr(module, name), Hyper):
            raise TypeError(f"{type(module).__name__}.{name} is no hyperparameter")
        constants = [float(value) for value in hyper["constants"]]
        family = hyper["family"]
        setattr(module, name, Hyper(constants[0]) if family is None else Hyper(_family(family), *constants))


def _family(name: str) -> type:
    family = getattr(dist, name)
    if not (isinstance(family, type) and issubclass(family, dist.Distribution)):
        raise TypeError(f"{name!r} is no distribution")
    return family


def _class(name: str, registry: tuple[type, ...]) -> Any:
    classes = {cls.__name__: cls for cls in registry}
    if name not in classes:
        raise KeyError(f"unknown class {name!r}, this version has {', '.join(classes)}")
    return classes[name]
