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


def describe(module: nn.Module) -> dict[str, Any]:
    """Class, strategy, hyperparameters and nested priors of a prior; of a model, its own hyperparameters."""
    children = dict(module.named_children())
    hyper = {name: child for name, child in children.items() if isinstance(child, Hyper)}
    described: dict[str, Any] = {
        "class": type(module).__name__,
        "hyper": {
            name: {
                "family": None if child.family is None else child.family.__name__,
                "constants": child.constants.tolist(),
            }
            for name, child in hyper.items()
        },
    }
    if isinstance(module, EdgePrior):
        described["strategy"] = module.strategy
        # as text: some are infinite, or not a number, which JSON has not
        described["constants"] = {name: repr(float(getattr(module, name))) for name in getattr(module, "constants", ())}
        described["nested"] = {name: describe(c) for name, c in children.items() if isinstance(c, EdgePrior)}
    return described
