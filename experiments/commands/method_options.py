"""Which options of ``pyrogrn infer`` go with which method; an option of another method is refused by name."""

import math
from collections.abc import Mapping
from typing import Any

from ...inference.amortised import KINDS
from ...models import Model
from .targets import takes_targets

IN_NOISE = ("linear",)  # methods whose spike and slab is in units of the noise, where there is one context
OWN_UNITS = ("netrex-cf", "cellbox")  # whose edge prior by default has its constants from the model
OF_FACTORS: dict[str, type] = {"integrate": bool, "factor_effects": bool, "standardize": bool}
# of `--set model.NAME=VALUE`, by method, with what each value must be
MODEL_OPTIONS: dict[str, dict[str, type]] = {
    "celloracle": {"estimator": str, "ridge": float, "lasso_scale": float, "num_bags": int},
    "netrex-cf": {
        "presence": str,
        "expression_weight": float,
        "rank": int,
        "activity_penalty": float,
        "confidence": float,
        "listed_cost": float,
        "unlisted_cost": float,
        "latent_penalty": float,
    },
    "pmf-grn": {"likelihood": str, "activity_spread": float, "own_expression": float},
    "factorbox": {"gain": str, "levels": str, "hidden": int, "knockdown": float, "measurement": float},
    "cellbox": {"solver": str},
    "trajectory": {"rate": float},
    "muvi": {"depth": str, **OF_FACTORS},
    "ppca": OF_FACTORS,
    "phoenix": {"hidden": int, "layers": int, "step": float, "solver": str, "coregulation": str},
}
OR_WORDS = {"measurement": ("controls",)}
"""Options that take a word beside their kind."""
KINDS_OF_VALUES = {str: "a word", int: "a whole number", float: "a number", bool: "true or false"}
NEEDED = {  # by what the model, or the method, cannot do without
    "celloracle": ("--prior", "the base GRN, outside which no edge exists"),
    "time": ("--time-key", "the column with the time of each cell"),
    "perturbed": ("--perturbation-key", "the column that names the gene knocked down"),
    "inputs": ("--inputs", "a table of conditions x nodes with what acts on each node"),
}
OF_NETWORKS = ("--tfs", "--targets", "--all-edges", "--prior", "--edge-prior", "--perturbation-key", "--truth")
OF_PROGRAMS = ("--factors", "--loading-prior", "--covariates", "--missing", "--annotate")
OF_SYMPHONY = ("--evidence", "--evidence-list")
NOT_CELLORACLE = ("--all-edges", "--guide", "--edge-prior", "--restarts", "--steps", "--budget", "--resume", "--device")
OF_MUVI = ("--gene-sets", "--likelihood", "--min-overlap")


def check_method_options(method: str, model: type[Model], given: Mapping[str, Any]) -> None:
    """Refuse options of other methods, and say which one is missing.

    Parameters
    ----------
    method, model
        Its name and class.
    given
        Values by option, of all options that only some methods take; ``None``, ``False`` and ``[]`` are not given.

    Raises
    ------
    ValueError
        An option that the method does not take, or one that it needs.
    """
    for options, infers, others in _refused(method, model):
        wrong = [option for option in options if given[option] not in (None, False, [])]
        if wrong:
            raise ValueError(
                f"{wrong[0]} does not go with --method {method}, which infers {infers}: {wrong[0]} is for {others}"
            )
    if "evidence" in model.takes and not (given["--evidence"] or given["--evidence-list"]):
        raise ValueError(f"--method {method} needs --evidence or --evidence-list: without either it is --method linear")
    for need in (method, *model.needs):
        option, what = NEEDED.get(need, (None, ""))
        if option is not None and given[option] is None:
            raise ValueError(f"--method {method} needs {option}: {what}")


def _refused(method: str, model: type[Model]) -> list[tuple[tuple[str, ...], str, str]]:
    """Options, what the method infers, and whom the options are for."""
    rows: list[tuple[tuple[str, ...], str, str]] = []
    if "inputs" in model.needs:
        rows.append((("--perturbation-key",), "responses to inputs", "panels of knock-downs"))
    else:
        rows.append((("--inputs", "--nodes"), "networks or programs without inputs", "--method cellbox"))
    if "time" in model.needs:
        rows.append((("--perturbation-key", "--context-key"), "one time course or several", "--method linear"))
    else:
        rows.append((("--time-key", "--trajectory-key", "--metacells"), "cells without times", "--method trajectory"))
    if model.infers == "programs":
        rows.append((OF_NETWORKS, "gene programs", "networks"))
        if "gene_sets" not in model.takes:
            rows.append((OF_MUVI, "programs without gene sets from Gaussian data", "--method muvi"))
    else:
        rows.append(((*OF_PROGRAMS, *OF_MUVI), "a network", "gene programs (ppca, muvi)"))
    if "evidence" not in model.takes:
        rows.append((OF_SYMPHONY, "without evidence on edges", "--method symphony"))
    if model.infers == "network" and not takes_targets(method, model):
        rows.append((("--targets",), "a network of all genes", "--method linear"))
    if method != "linear":
        rows.append((("--scheduler",), "in one process", "--method linear"))
    if method == "celloracle":
        infers = "the networks of cell types by an engine of its own on the CPU (--set model.estimator=NAME)"
        rows.append((NOT_CELLORACLE, infers, "other methods"))
    if method in KINDS:
        rows.append(
            (("--guide", "--edge-prior", "--context-key"), "a network by an amortised guide", "--method linear")
        )
    return rows


def check_settings(method: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse ``--set`` that the method does not take, and values of its options that are of another kind.

    Parameters
    ----------
    method
        Its name.
    groups
        As `parse_settings` returns them.

    Raises
    ------
    ValueError
        Of ``model``: an unknown name; a value that is not the word, whole number or finite number that the option is.
        Of ``prior``, ``guide`` and ``fit``: any, where the method chooses these itself.
    """
    if method == "celloracle":
        for group in ("prior", "guide", "fit"):
            for name in groups[group]:
                raise ValueError(
                    f"--set {group}.{name}: --method celloracle chooses its prior and engine by itself and takes "
                    f"--set model.NAME=VALUE with {', '.join(MODEL_OPTIONS[method])}"
                )
    known = MODEL_OPTIONS.get(method, {})
    for name, value in groups["model"].items():
        if name not in known:
            raise ValueError(f"--set model.{name}: --method {method} takes {', '.join(known) or 'no model options'}")
        if value in OR_WORDS.get(name, ()):
            continue
        kind = known[name]
        accepted = (int, float) if kind is float else (kind,)
        if type(value) not in accepted or (kind is float and not math.isfinite(value)):
            raise ValueError(f"--set model.{name}={value}: expected {KINDS_OF_VALUES[kind]}")
