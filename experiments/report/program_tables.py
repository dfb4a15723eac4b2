"""The tables of a fit of gene programs, computed once for the files and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ...inference import Posterior
from ...inference.answers.set_standing import Standing, standings
from ...inference.draws.intervals import LEVEL
from ...models import ExpressionData
from ..enrichment import enrich
from ..files.result_tables import write_csv

SAME = 0.8  # AUC from which a program without a set is said to be the set
GeneSets = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class ProgramTables:
    """What is written and reported of gene programs.

    Attributes
    ----------
    programs, factors
        `Posterior.programs` and `Posterior.factors`.
    gene_sets
        `Posterior.refined_sets`; None where no program has a gene set.
    covariate_effects
        `Posterior.covariate_effects`; None without covariates.
    enrichment
        `enrich` of the programs without a gene set; None where no sets were given or all programs have one.
    trust
        `Posterior.trust`.
    scores, scores_sd
        (cell × program) posterior mean and sd of each cell's programs; None without cells.
    level
        Probability of the intervals.
    """

    programs: pd.DataFrame
    factors: pd.DataFrame
    gene_sets: pd.DataFrame | None
    covariate_effects: pd.DataFrame | None
    enrichment: pd.DataFrame | None
    trust: pd.DataFrame
    scores: pd.DataFrame | None
    scores_sd: pd.DataFrame | None
    level: float

    @classmethod
    def collect(
        cls,
        posterior: Posterior,
        data: ExpressionData | None,
        *,
        level: float = LEVEL,
        gene_sets: GeneSets | None = None,
        min_overlap: int = 5,
    ) -> "ProgramTables":
        """All tables of a posterior; ``gene_sets`` are those to test the unlabelled programs for."""
        factors = posterior.factors(level=level)
        programs = posterior.programs(level=level)
        free = set(factors.loc[factors["library"] == "", "program"])
        loadings = programs[programs["program"].isin(free)]
        scores, sd = posterior.scores(data) if data is not None else (None, None)
        return cls(
            programs,
            factors,
            posterior.refined_sets() if (factors["library"] != "").any() else None,
            posterior.covariate_effects(level=level) if posterior.coords["covariate"] else None,
            enrich(loadings, gene_sets, min_overlap=min_overlap) if gene_sets and free else None,
            posterior.trust(level=level),
            scores,
            sd,
            level,
        )

    def importance(self) -> pd.Series:
        """Largest share of variance that each program explains in any view and group, most important program first."""
        largest = self.factors.groupby("program", sort=False)["variance_explained"].max()
        return largest.sort_values(ascending=False, kind="stable")

    @property
    def standings(self) -> dict[str, Standing]:
        """Of programs that are named after a gene set, whether they still are that set."""
        return standings(self.gene_sets, self.programs)

    @property
    def elsewhere(self) -> dict[str, tuple[str, float]]:
        """Of sets most of whose genes are removed from the program of their name, by that name (so of tables that are
        not `labelled`): a program without a set that has them (area under the curve of at least `SAME`, false discovery
        rate below 5%), and that area. Sets of other libraries that have the same name are other sets."""
        if self.gene_sets is None or self.enrichment is None:
            return {}
        number = pd.crosstab(self.gene_sets["program"], self.gene_sets["status"])
        libraries = dict(zip(self.factors["program"], self.factors["library"], strict=True))
        found = {}
        for name in number.index:
            if number.loc[name].get("removed", 0) <= number.loc[name].get("kept", 0):
                continue
            rows = self.enrichment[self.enrichment["set"] == name]
            rows = rows[rows["library"].isin(libraries[name].split("+"))]
            rows = rows[(rows["auc"] >= SAME) & (rows["fdr"] < 0.05)]
            if len(rows):
                best = rows.loc[rows["auc"].idxmax()]
                found[str(name)] = (str(best["program"]), float(best["auc"]))
        return found

    def labelled(self) -> "ProgramTables":
        """The same with the names of programs that readers are shown: of those that hold mostly other genes than their
        set, that they do."""
        names = {name: found.label(name) for name, found in self.standings.items()}

        def renamed(table: pd.DataFrame) -> pd.DataFrame:
            return table.assign(program=table["program"].replace(names))

        effects, scores = self.covariate_effects, self.scores
        if effects is not None:
            of_programs = effects["kind"] == "program"
            effects = effects.assign(name=effects["name"].mask(of_programs, effects["name"].replace(names)))
        return replace(
            self,
            programs=renamed(self.programs),
            factors=renamed(self.factors),
            gene_sets=None if self.gene_sets is None else renamed(self.gene_sets),
            covariate_effects=effects,
            enrichment=None if self.enrichment is None else renamed(self.enrichment),
            scores=None if scores is None else scores.rename(columns=names),
        )

    def files(self) -> dict[str, dict[str, str]]:
        """No table is called by what is in it."""
        return {}

    def write(self, folder: Path, *, top: int | None = None) -> None:
        """programs.csv (``top``: genes of each program), factors.csv, and those of gene_sets.csv,
        covariate_effects.csv, enrichment.csv and scores.csv.gz that apply."""
        programs = self.programs if top is None else self.programs.groupby("program", sort=False).head(top)
        files = {
            "programs": programs,
            "factors": self.factors,
            "gene_sets": self.gene_sets,
            "covariate_effects": self.covariate_effects,
            "enrichment": self.enrichment,
        }
        for name, table in files.items():
            if table is not None:
                write_csv(table, folder / f"{name}.csv")
        if self.scores is not None and self.scores_sd is not None:
            write_csv(self.long_scores(), folder / "scores.csv.gz", float_format="%.5g")

    def long_scores(self) -> pd.DataFrame:
        """``cell, program, mean, sd``, all programs of a cell together."""
        assert self.scores is not None, "made without cells"
        assert self.scores_sd is not None, "made without cells"
        return long_scores(self.scores, self.scores_sd)


def long_scores(mean: pd.DataFrame, sd: pd.DataFrame) -> pd.DataFrame:
    """``cell, program, mean, sd`` of two tables cell × program, all programs of a cell together."""
    cells, programs = mean.shape
    return pd.DataFrame(
        {
            "cell": mean.index.repeat(programs),
            "program": list(mean.columns) * cells,
            "mean": mean.to_numpy().ravel(),
            "sd": sd.to_numpy().ravel(),
        }
    )
