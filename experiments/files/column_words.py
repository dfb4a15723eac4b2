"""Names that columns of annotations have in use, by what they hold: times, courses, what was perturbed."""

import re

TIME = frozenset(
    ["time", "times", "day", "days", "hour", "hours", "timepoint", "time_point", "pseudotime", "dpt_pseudotime"]
    + [
        "age_days",
        "minutes",
        *(f"time_{unit}" for unit in ("s", "sec", "min", "mins", "minutes", "h", "hr", "hours", "days")),
    ]
)
COURSE = frozenset(
    ["trajectory", "trajectories", "series", "time_series", "course", "time_course", "replicate", "replicates"]
    + ["condition", "conditions", "experiment", "subject", "patient", "individual", "strain"]
)
PERTURBATION = frozenset(
    ["perturbation", "perturbed", "perturbed_gene", "perturbed_genes", "guide", "grna", "sgrna", "target_gene"]
    + ["knockout", "knockout_gene", "knockdown", "knockdown_gene", "knocked_out", "knocked_down"]
)

# names in use for annotations of cells, in lower case with underscores between their parts
ANNOTATIONS = re.compile(
    r"totals?|sum|batch|n_?counts?|n_?genes|n_?umis?|umis?|ncount_\w+|nfeature_\w+|(?:log1p_|log_|log10_)?total_counts?\w*|"
    r"(?:log1p_|log_)?n_genes_by_counts|pct_\w+|percent(?:age)?(?:_\w+)?|mito_?(?:frac|fraction|ratio|percent|pct)|"
    r"labels?|clusters?|leiden\w*|louvain\w*|seurat_clusters|cell_?types?|conditions?|samples?(?:_?id)?|groups?|"
    r"replicates?|donors?|patients?|times?|time_?points?|"
    r"time_(?:s|secs?|mins?|minutes|h|hrs?|hours?|d|days?)|pseudotimes?|dpt_pseudotime|days?|stages?|phase|s_score|"
    r"g2m?_score|(?:doublet|scrublet)_scores?|size_?factors?|lib(?:rary)?_?size|depth|(?:x_)?(?:umap|tsne)_?[12]|pc_\d+|"
    r"age|sex|series|experiment(?:_?id)?|lane|plate|well"
)


def says(column: str, words: frozenset[str]) -> bool:
    """Whether a column is called so, whatever its case and what is between its parts."""
    return re.sub(r"[ .-]+", "_", column.strip().lower()) in words


def is_annotation(name: str) -> bool:
    """Whether a name is one of those that tables of cells give to what is no gene."""
    return ANNOTATIONS.fullmatch(re.sub(r"[ .-]+", "_", name.strip().lower())) is not None
