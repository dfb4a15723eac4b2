"""Names that columns of annotations have in use, by what they hold: times, courses, what was perturbed."""

import re

TIME = frozenset(
    ["time", "times", "day", "days", "hour", "hours", "timepoint", "time_point", "pseudotime", "dpt_pseudotime"]
    + ["age_days"]
)
COURSE = frozenset(["trajectory", "trajectories", "series", "time_series", "course", "time_course"])
PERTURBATION = frozenset(
    ["perturbation", "perturbed", "perturbed_gene", "perturbed_genes", "guide", "grna", "sgrna", "target_gene"]
    + ["knockout", "knockout_gene", "knockdown", "knockdown_gene", "knocked_out", "knocked_down"]
)


def says(column: str, words: frozenset[str]) -> bool:
    """Whether a column is called so, whatever its case and what is between its parts."""
    return re.sub(r"[ .-]+", "_", column.strip().lower()) in words
