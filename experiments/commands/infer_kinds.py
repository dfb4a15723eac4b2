"""What ``pyrogrn infer`` does differently for networks and for gene programs."""

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from ...inference.answers.promise import known_directions
from ...models import ExpressionData, Model
from ...priors import AlignmentReport
from ..files.network_tables import BIG, WORTH_READING
from ..files.readers import read_kinds
from .infer_options import InferOptions
from .method_options import IN_NOISE, OWN_UNITS
from .options import (
    default_prior_name,
    make_edge_prior,
    make_loading_prior,
    parse_columns,
    parse_likelihoods,
    read_evidence,
    read_gene_sets,
    read_priors,
)

ALTERNATE = "alternate"
OF_EVERY_RUN = ("posterior.nc", "diagnostics.json", "report.html", "config.json", "model/")
Groups = dict[str, dict[str, Any]]


class InferKind(ABC):
    """Reading of options, and words, by what a model infers; `INFERS` has one for each."""

    @abstractmethod
    def model_options(self, options: InferOptions, model: type[Model], groups: Groups) -> dict[str, Any]:
        """What the model is made with, beside the data; files of knowledge are read."""

    @abstractmethod
    def parts(self, data: ExpressionData) -> str:
        """What there is in the data, beside cells and genes."""

    @abstractmethod
    def matched(self, report: AlignmentReport) -> str:
        """How much of a source of knowledge was found among the genes."""

    @abstractmethod
    def writes(self, model: Model, num_rows: int) -> list[str]:
        """Names of what is written, with ``num_rows`` of its main table."""

    @abstractmethod
    def rows(self, model: Model) -> int:
        """Rows of the main table."""

    @abstractmethod
    def described(self, options: InferOptions, model: Model, chosen: dict[str, Any]) -> dict[str, Any]:
        """What config.json says of the model."""


class InferNetwork(InferKind):
    """Of networks: an edge prior, prior networks, and evidence on edges or kinds of nodes where the model has them."""

    def model_options(self, options: InferOptions, model: type[Model], groups: Groups) -> dict[str, Any]:
        networks = read_priors(options.prior or [])
        if options.guide == ALTERNATE and options.method == "factorbox":
            # a least-squares fit has gains of its own, and penalties in place of a prior
            options = replace(options, edge_prior=options.edge_prior or "normal")
            groups = groups | {"model": {"gain": "sampled", **groups["model"]}}
        own = options.method in OWN_UNITS and options.edge_prior is None and not groups["prior"]
        name = options.edge_prior or default_prior_name(model)
        settings = groups["prior"]
        if options.method in IN_NOISE and name == "spike-slab":
            settings = {"unit": "noise", **settings}  # as the model has it by default
        prior = None if own else make_edge_prior(name, settings)
        chosen: dict[str, Any] = {"edge_prior": prior, "networks": networks, **groups["model"]}
        if options.nodes is not None:
            chosen["kinds"] = read_kinds(options.nodes)
        if "evidence" in model.takes:
            chosen["evidence"] = read_evidence(options.evidence or [], options.evidence_list or [])
        return chosen

    def parts(self, data: ExpressionData) -> str:
        return f"{len(data.tfs)} candidate regulators, {data.num_contexts} context(s)"

    def matched(self, report: AlignmentReport) -> str:
        return str(report)

    def rows(self, model: Model) -> int:
        return int(model.edge_prior.allowed.sum())

    def writes(self, model: Model, num_rows: int) -> list[str]:
        contexts = model.coords["context"]
        by_context = (
            [f"edges_CONTEXT.csv of {len(contexts)} contexts, differences.csv, differences_A_B.csv"]
            if len(contexts) > 1
            else []
        )
        which = f"{num_rows:,} edges"
        if num_rows > BIG:
            which = f"of {which} those of a probability of at least {WORTH_READING}; --all-edges for the rest"
        beside = ["trajectory_edges.csv (edges by --method trajectory)"] if model.neural_ode else []
        loose = model.edge_prior.allowed.cpu().numpy() & ~known_directions(model)
        links = ["links.csv"] if loose.any() else []
        return [f"edges.csv ({which})", *links, *by_context, *beside, *OF_EVERY_RUN]

    def described(self, options: InferOptions, model: Model, chosen: dict[str, Any]) -> dict[str, Any]:
        return {
            "priors": {name: len(network) for name, network in chosen["networks"].items()},
            "prior_files": list(options.prior or []),
            "edge_prior": options.edge_prior
            or ("normal" if options.guide == ALTERNATE else default_prior_name(type(model))),
        }


class InferPrograms(InferKind):
    """Of gene programs: factors, a loading prior, gene sets and the likelihoods of views."""

    def model_options(self, options: InferOptions, model: type[Model], groups: Groups) -> dict[str, Any]:
        chosen: dict[str, Any] = {} if options.factors is None else {"num_factors": options.factors}
        loading_prior = options.loading_prior
        if loading_prior is None and groups["prior"]:
            loading_prior = default_prior_name(model)
        if loading_prior is not None:
            chosen["loading_prior"] = make_loading_prior(loading_prior, groups["prior"])
        if options.gene_sets:
            chosen["gene_sets"] = read_gene_sets(options.gene_sets)
        if options.likelihood:
            chosen["likelihood"] = parse_likelihoods(options.likelihood)
        if options.min_overlap is not None:
            chosen["min_overlap"] = options.min_overlap
        return {**chosen, **groups["model"]}

    def parts(self, data: ExpressionData) -> str:
        views, groups, columns = len(data.view_names), data.num_contexts, len(data.covariate_names)
        return f"{views} view(s), {groups} group(s), {columns} covariate(s)"

    def matched(self, report: AlignmentReport) -> str:
        return f"{report.name}: {report.sources_matched} gene sets"

    def rows(self, model: Model) -> int:
        return math.prod(len(model.coords[axis]) for axis in model.axes)

    def writes(self, model: Model, num_rows: int) -> list[str]:
        sets = ["gene_sets.csv"] if model.coords["source"] else []
        free = any(name.startswith("factor_") for name in model.coords["factor"])  # as those without a set are called
        sets += ["enrichment.csv"] if sets and free else []
        covariates = ["covariate_effects.csv"] if model.coords["covariate"] else []
        tables = [f"programs.csv ({num_rows:,} loadings)", "factors.csv", *sets, *covariates, "scores.csv.gz"]
        return [*tables, *OF_EVERY_RUN]

    def described(self, options: InferOptions, model: Model, chosen: dict[str, Any]) -> dict[str, Any]:
        return {
            "factors": model.coords["factor"],
            "gene_sets": {name: len(sets) for name, sets in chosen.get("gene_sets", {}).items()},
            "gene_set_files": list(options.gene_sets or []),
            "loading_prior": type(model.edge_prior).__name__,
            "covariates": parse_columns(options.covariates),
            "likelihood": chosen.get("likelihood", "gaussian"),
        }


INFERS: dict[str, InferKind] = {"network": InferNetwork(), "programs": InferPrograms()}
"""By what a model infers (`Model.infers`)."""
