"""The AnnData that was read, with programs written into it (``--annotate``)."""

from pathlib import Path

from ...inference import Posterior
from ...models import ExpressionData
from .whole import whole_file


def check_annotate(out: Path, expression: list[Path], *, overwrite: bool) -> None:
    """Refuse what --annotate cannot do before anything is computed."""
    if out.suffix != ".h5ad":
        raise ValueError(f"--annotate {out}: expected a file that ends in .h5ad")
    if len(expression) != 1 or expression[0].suffix != ".h5ad":
        raise ValueError("--annotate writes the AnnData that was read: pass one .h5ad file as EXPRESSION")
    if out.exists() and (not overwrite or out.resolve() == expression[0].resolve()):
        raise ValueError(f"--annotate {out}: the file exists, choose another name (or --overwrite, never the input)")
    if not out.parent.is_dir():
        raise ValueError(f"--annotate {out}: there is no folder {out.parent}")


def write_annotated(posterior: Posterior, data: ExpressionData, source: Path, out: Path) -> None:
    """The AnnData of ``source`` with scores and loadings, written whole or not at all."""
    import anndata  # here: it takes half a second to import, and few runs write one

    adata = anndata.read_h5ad(source)
    posterior.annotate(adata, data)
    with whole_file(out, "--annotate") as scratch:
        adata.write_h5ad(scratch)
