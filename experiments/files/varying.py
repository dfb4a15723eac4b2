"""Genes without variance are found in the statistics of a file that is streamed, which is not read again for it."""

from ...models import ExpressionData, GramStatistics
from ...models.data.description import dropped_constant


def without_constant(data: ExpressionData, statistics: GramStatistics) -> tuple[ExpressionData, GramStatistics]:
    """The data, and their statistics, of genes that vary within some context; a note names the others.

    Raises
    ------
    ValueError
        No candidate regulator varies.
    """
    constant = set(statistics.constant_genes)
    if not constant:
        return data, statistics
    kept = [gene for gene in data.genes if gene not in constant]
    listed = set(data.tfs) if len(data.tfs) < data.num_genes else set()
    silent = sum(gene in constant and not bool(statistics.mean[:, i].any()) for i, gene in enumerate(statistics.genes))
    names = [gene for gene in data.genes if gene in constant]
    note = dropped_constant(names, silent, [gene for gene in names if gene in listed])
    return data.select_genes(kept).with_missing(data.missing, note), statistics.with_genes(kept)
