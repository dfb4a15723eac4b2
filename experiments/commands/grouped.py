"""Options of a long command in groups, and the version."""

from typing import Any

import typer
from typer.core import TyperCommand

# groups of `infer` and `plan`, in order: title -> options by their Python names
GROUPS: dict[str, tuple[str, ...]] = {
    "Data": (
        *("tfs", "targets", "layer", "genes_in", "normalize", "top_genes", "drop_constant", "context_key", "min_cells"),
        *("perturbation_key", "control", "unmeasured", "missing"),
    ),
    "Knowledge": ("prior", "edge_prior", "evidence", "evidence_list", "gene_sets", "min_overlap", "truth"),
    "Time courses": ("time_key", "trajectory_key", "metacells"),
    "Responses to drugs": ("inputs", "nodes"),
    "Gene programs": ("factors", "loading_prior", "covariates", "likelihood", "annotate"),
    "Fit": (
        *(
            "method",
            "guide",
            "restarts",
            "steps",
            "budget",
            "scheduler",
            "calibrate",
            "seed",
            "device",
            "threads",
            "settings",
        ),
    ),
    "Output": ("out", "level", "top", "all_edges", "overwrite", "resume"),
}


class GroupedCommand(TyperCommand):
    """A command whose help has its options by `GROUPS`; those of no group, such as ``--help``, come last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a group."""
        records: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *GROUPS, "Other")}
        title_of = {name: title for title, names in GROUPS.items() for name in names}
        for param in self.get_params(ctx):
            told = param.get_help_record(ctx)
            if told is None:
                continue
            group = "Arguments" if param.param_type_name == "argument" else title_of.get(str(param.name), "Other")
            records[group].append(told)
        for title, rows in records.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def say_version(asked: bool) -> None:
    """``--version``: the version of the package, and end."""
    if asked:
        from ... import __version__

        typer.echo(f"pyrogrn {__version__}")
        raise typer.Exit
