"""What is read: paths, an AnnData, or a MuData and its modalities."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from ...models import ExpressionData
from ...models.data.cell_labels import CellLabels
from ...models.data.containers import is_anndata, is_mudata
from ...models.data.views import annotations_of, join_modalities, modality_of
from .stored import BACKED_SIZE, about, guarded, using_mudata

logger = logging.getLogger(__name__)


def sources_of(paths: Any) -> list[Any]:
    """Paths, or one AnnData or MuData, as they were given."""
    alone = isinstance(paths, str | Path) or is_anndata(paths) or is_mudata(paths)
    given = [paths] if alone else list(paths)
    if not given:
        raise ValueError("no expression file given: pass at least one")
    objects = [source for source in given if is_anndata(source) or is_mudata(source)]
    if objects and len(given) > 1:
        raise ValueError(
            "several AnnData: join them first (anndata.concat(..., label='context')), and name the column as context "
            "key"
        )
    return objects or [Path(path) for path in given]


def has_modalities(source: Any) -> bool:
    """Whether it is a MuData, or a file of one."""
    return is_mudata(source) or (isinstance(source, Path) and source.suffix.lower() == ".h5mu")


def about_source(source: Any) -> AbstractContextManager[None]:
    """Errors begin with the path of a file."""
    return about(source) if isinstance(source, Path) else nullcontext()


def one_modality(source: Any, modality: str | None) -> Any:
    """The AnnData of one modality of a MuData, or of a file of one; what has none stays as it is."""
    if modality is None:
        return source
    if not has_modalities(source):
        raise ValueError(f"modality {modality!r} is of a MuData or h5mu, and this is none: leave it out")
    return modality_of(source if is_mudata(source) else opened_mudata(source), modality)


def opened_mudata(path: Path) -> Any:
    """The MuData in an h5mu.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    with using_mudata() as mudata:
        return guarded("an h5mu", lambda: mudata.read_h5mu(path))


def read_views(
    source: Any, layer: str | None, keys: Sequence[str], *, missing: bool, backed: bool | None
) -> tuple[ExpressionData, pd.DataFrame]:
    """Every modality of a MuData, or of a file of one, as a view, and the annotations of those names."""
    if backed:
        raise ValueError("an h5mu cannot be streamed: write each modality as h5ad, or leave out backed=True")
    if isinstance(source, Path):
        if backed is None and source.exists() and source.stat().st_size > BACKED_SIZE:
            logger.warning("%s: an h5mu is not streamed, all of it is read", source)
        source = opened_mudata(source)
    joined = join_modalities(source, layer, missing=missing)
    named = CellLabels.of(source.obs_names, source.obs)
    return ExpressionData(**joined._asdict(), labels=named), annotations_of(source, keys)
