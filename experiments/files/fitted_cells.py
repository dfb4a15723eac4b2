"""The cells of an AnnData as they were read for a fit that is written in it."""

from collections.abc import Mapping
from typing import Any

from ...models import ExpressionData
from ...models.data.containers import is_mudata
from .readers import read_expression

KEY = "pyrogrn"  # under which results are written


def cells_of_fit(adata: Any, *, key: str = KEY) -> ExpressionData:
    """Read ``adata`` with the options that are in ``uns[key]["settings"]``: the cells of the fit.

    Parameters
    ----------
    adata
        AnnData or MuData in which a function of `tl` has written, also after it was saved and read.
    key
        Under which it has.

    Raises
    ------
    ValueError
        There is no such fit, or it was made with inputs, which are not kept.
    """
    settings = written_fit(adata, key=key)["settings"]
    if settings["method"] == "cellbox":
        raise ValueError("the inputs of CellBox are not kept: pass pyrogrn.read_expression(adata, inputs=...)")
    reading = {name: _plain(value) for name, value in settings["reading"].items()}
    if not is_mudata(adata):
        reading.pop("modality", None)  # this is the modality
    return read_expression(adata, **{"tfs": None, "drop_constant": None, **reading})


def written_fit(adata: Any, *, key: str = KEY) -> Mapping[str, Any]:
    """``uns[key]`` where a function of `tl` has written it, of a MuData perhaps in one of its modalities.

    Raises
    ------
    ValueError
        There is no such fit.
    """
    found = [adata, *(adata.mod.values() if is_mudata(adata) else ())]
    place = next((part for part in found if "settings" in part.uns.get(key, {})), None)
    if place is None:
        raise ValueError(
            f"no fit in .uns[{key!r}]: run a function of pyrogrn.tl on it first, or read it, "
            "pyrogrn.read_expression(adata, ...), with the options of the fit"
        )
    return place.uns[key]


def _plain(value: Any) -> Any:
    """Arrays as lists of texts, numbers of NumPy as Python's."""
    if getattr(value, "ndim", 0):
        return [str(entry) for entry in value]
    return value.item() if hasattr(value, "item") else value
