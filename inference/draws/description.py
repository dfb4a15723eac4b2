"""A prior or another module in plain values, and the version of the package."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn

from ...priors import EdgePrior, Hyper


def package_version() -> str:
    """Version of the installed pyrogrn; ``"unknown"`` when it runs from a folder that was never installed."""
    try:
        return version("pyrogrn")
    except PackageNotFoundError:
        return "unknown"


def describe(prior: EdgePrior) -> dict[str, Any]:
    """Class, hyperparameters, strategy and nested priors of a prior."""
    return {
        "class": type(prior).__name__,
        "hyper": hyper_of(prior),
        "strategy": prior.strategy,
        # as text: some are infinite, or not a number, which JSON has not
        "constants": {name: repr(float(getattr(prior, name))) for name in getattr(prior, "constants", ())},
        "nested": {name: describe(child) for name, child in prior.nested.items()},
        **({"unit": prior.measured_in} if prior.measured_in == "noise" else {}),  # files of earlier versions have none
    }


def hyper_of(module: nn.Module) -> dict[str, Any]:
    """Family and constants of the hyperparameters of a model or prior, by name."""
    hyper = {name: child for name, child in module.named_children() if isinstance(child, Hyper)}
    return {
        name: {
            "family": None if child.family is None else child.family.__name__,
            "constants": child.constants.tolist(),
        }
        for name, child in hyper.items()
    }
