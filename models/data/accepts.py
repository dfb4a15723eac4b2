"""`takes_anndata`: a function of `ExpressionData` that takes an AnnData or a MuData too."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from .containers import is_anndata, is_mudata, layer_of
from .expression import ExpressionData
from .views import modality_of

R = TypeVar("R")


def expression_of(
    data: Any,
    *,
    tfs: Sequence[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    modality: str | None = None,
    normalize: str = "none",
    context_key: str | None = None,
    perturbation_key: str | None = None,
    covariate_keys: Sequence[str] = (),
    time_key: str | None = None,
    trajectory_key: str | None = None,
    missing: bool = False,
) -> ExpressionData:
    """An AnnData or MuData as `ExpressionData`.

    Parameters
    ----------
    data
        AnnData of cells × genes, or MuData: all its modalities as views, unless ``modality`` names one.
    tfs, layer, context_key, perturbation_key, covariate_keys, time_key, trajectory_key, missing
        As of `ExpressionData.from_anndata`.
    use_raw
        Read ``.raw``. Default False.
    modality
        Of a MuData: the one to read. Default all.
    normalize
        As of `ExpressionData.normalized`. Default ``none``: the values are those that the model is to see.

    Raises
    ------
    ValueError
        As `ExpressionData.from_anndata` and `from_mudata`; a modality of what has none, times of views.
    """
    layer = layer_of(layer, use_raw)
    if modality is not None and not is_mudata(data):
        raise ValueError(f"modality {modality!r} is of a MuData, and this is none: leave it out")
    chosen: dict[str, Any] = {
        "tfs": tfs,
        "context_key": context_key,
        "perturbation_key": perturbation_key,
        "covariate_keys": covariate_keys,
        "missing": missing,
    }
    if is_mudata(data) and modality is None:
        if time_key is not None or trajectory_key is not None:
            raise ValueError("time courses are of one modality of a MuData: name it, `modality=`")
        return ExpressionData.from_mudata(data, layer=layer, **chosen).normalized(normalize)
    adata = modality_of(data, modality) if modality is not None else data
    chosen |= {"time_key": time_key, "trajectory_key": trajectory_key}
    return ExpressionData.from_anndata(adata, layer=layer, **chosen).normalized(normalize)


AS_READ = "reading"  # of a fit's attributes: the options by which its AnnData was read
READING = tuple(p for p in inspect.signature(expression_of).parameters.values() if p.name != "data")


def takes_anndata(function: Callable[..., R]) -> Callable[..., R]:
    """``function``, whose argument ``data`` may also be an AnnData or a MuData, read with the options of
    `expression_of`; by default, where the first argument is a fit that knows how its own was read, in that way.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> number = takes_anndata(lambda data: data.num_cells)
    >>> number(anndata.AnnData(np.eye(3, dtype="float32")), normalize="none")
    3
    """
    signature = inspect.signature(function)
    place = list(signature.parameters).index("data")
    taken = set(signature.parameters)

    @wraps(function)
    def wrapper(*args: Any, **options: Any) -> R:
        data = args[place] if len(args) > place else options.get("data")
        if not (is_anndata(data) or is_mudata(data)):
            return function(*args, **options)
        reading = {p.name: options.pop(p.name) for p in READING if p.name in options and p.name not in taken}
        if not reading and place > 0:
            fitted = args[0] if args else None
            reading = {
                k: v for k, v in dict(getattr(fitted, "attributes", {})).get(AS_READ, {}).items() if k not in taken
            }
        read = expression_of(data, **reading)
        if len(args) > place:
            return function(*args[:place], read, *args[place + 1 :], **options)
        return function(*args, **(options | {"data": read}))

    extra = [p for p in READING if p.name not in taken]
    own = list(signature.parameters.values())
    last = [p for p in own if p.kind is p.VAR_KEYWORD]
    shown = [*(p for p in own if p not in last), *extra, *last]
    wrapper.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return wrapper
