"""`PriorNetwork`: what is known about edges before the data."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from .alignment import AlignmentReport, explain_mismatch, is_among, places, refuse_swapped
from .corruption import check_fraction, choose_share, relocate, swap_targets
from .described import Described
from .edge_table import COLUMNS, check_probability, clean_names, interpret_edges, show_pairs
from .formats.files import shorten
from .formats.matrices import finite_matrix, matrix_to_edges
from .formats.registry import read_edge_table, write_edge_table

Duplicates = Literal["error", "mean", "conflict", "networks"]
SUFFIXES = re.compile(r"(?<=.)(\.(csv|tsv|txt|gmt|h5ad|parquet|graphml|gexf|cyjs))?(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, eq=False, repr=False)
class PriorNetwork(Described):
    """A sparse, signed network of prior edges, each with the probability that it exists.

    Parameters
    ----------
    source, target
        Names of regulator and regulated gene, shape (edge,), non-empty strings; no pair twice. Self-edges may occur,
        `align` drops them.
    probability
        That the edge exists, in the open interval (0, 1), shape (edge,): its log-odds enter the edge priors, so 0 and 1
        are refused.
    sign
        +1 activation, -1 repression, 0 unknown, shape (edge,).
    evidence
        A tag per edge, shape (edge,): where it comes from.
    name
        Name of the source of knowledge.
    notes
        What of a file was taken for what, merged, or not used. Default none.

    Raises
    ------
    ValueError
        For unequal lengths, empty or missing names, repeated pairs, probabilities outside (0, 1), other signs.

    Notes
    -----
    The arrays are copied and made read-only. A network without edges is allowed: it is what dropping every edge leaves.

    Examples
    --------
    >>> import pandas as pd
    >>> edges = pd.DataFrame({"source": ["SPI1", "GATA1"], "target": ["CSF1R", "SPI1"], "sign": [1, -1]})
    >>> network = PriorNetwork.from_edges(edges, name="toy")
    >>> network
    PriorNetwork('toy', 2 edges, 2 sources, 2 targets, 2 signed)
    >>> aligned, report = network.align(tfs=["GATA1", "SPI1"], targets=["SPI1", "CSF1R"])
    >>> aligned.matrix(["GATA1", "SPI1"], ["SPI1", "CSF1R"])[1].tolist()
    [[-1, 0], [0, 1]]
    """

    source: np.ndarray
    target: np.ndarray
    probability: np.ndarray
    sign: np.ndarray
    evidence: np.ndarray
    name: str
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = field(init=False)
    targets: tuple[str, ...] = field(init=False)
    _source_code: np.ndarray = field(init=False, repr=False)
    _target_code: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ValueError(f"the network's name is {self.name!r}; expected a non-empty string")
        columns = {
            "source": clean_names(self.source, "source", self.name),
            "target": clean_names(self.target, "target", self.name),
            "probability": np.array(self.probability, dtype=np.float64),
            "sign": np.array(self.sign),
            "evidence": np.array([str(e) for e in self.evidence], dtype=object),
        }
        shapes = {key: value.shape for key, value in columns.items()}
        if len(set(shapes.values())) > 1 or columns["source"].ndim != 1:
            raise ValueError(f"network '{self.name}': the columns differ in length: {shapes}")
        check_probability(columns["probability"], self.name)
        wrong = np.flatnonzero(~np.isin(columns["sign"], (-1, 0, 1)))
        if wrong.size:
            found = columns["sign"][wrong[0]]
            raise ValueError(f"network '{self.name}': row {wrong[0] + 1} has sign {found}; expected -1, 0 or +1")
        columns["sign"] = columns["sign"].astype(np.int8)
        source_code, sources = pd.factorize(columns["source"])
        target_code, targets = pd.factorize(columns["target"])
        columns |= {"_source_code": source_code.astype(np.int64), "_target_code": target_code.astype(np.int64)}
        for key, value in columns.items():
            value.setflags(write=False)
            object.__setattr__(self, key, value)
        object.__setattr__(self, "sources", tuple(sources))
        object.__setattr__(self, "targets", tuple(targets))
        repeated = np.flatnonzero(pd.Series(self._cell()).duplicated().to_numpy())
        if repeated.size:
            examples = show_pairs(self.to_frame(), repeated)
            raise ValueError(
                f"network '{self.name}': {repeated.size} edges are listed more than once, e.g. {examples}; every pair "
                "may occur once (from_edges(..., duplicates='mean') merges)"
            )

    def __len__(self) -> int:
        return self.source.size

    def __repr__(self) -> str:
        counts = f"{len(self)} edges, {len(self.sources)} sources, {len(self.targets)} targets"
        return f"PriorNetwork({self.name!r}, {counts}, {np.count_nonzero(self.sign)} signed)"

    def facts(self) -> dict[str, str]:
        """Its name and numbers."""
        signed = f"{np.count_nonzero(self.sign):,}"
        numbers = {"edges": len(self), "regulators": len(self.sources), "targets": len(self.targets)}
        return {"name": self.name} | {name: f"{n:,}" for name, n in numbers.items()} | {"with a sign": signed}

    def to_frame(self) -> pd.DataFrame:
        """Edges as a table with columns ``source, target, probability, sign, evidence``."""
        return pd.DataFrame({column: getattr(self, column).copy() for column in COLUMNS})

    # -- in and out ----
    @classmethod
    def from_edges(
        cls,
        frame: pd.DataFrame,
        *,
        name: str,
        default_probability: float = 0.9,
        duplicates: Duplicates = "error",
        signed: bool | None = None,
    ) -> "PriorNetwork":
        """Network from a table of edges.

        Parameters
        ----------
        frame
            ``source``, ``target`` and any of

            - ``probability``: used as it is, in (0, 1);
            - ``confidence``: levels A to E of DoRothEA, as 0.95, 0.9, 0.8, 0.6, 0.4;
            - ``weight``: strength of evidence; 0 means no edge. All 1 in size: ``default_probability``. All in (0, 1]:
              taken as probabilities. Else odds proportional to the size, the median weight getting
              ``default_probability`` (`pyrogrn.priors.formats.weights` gives the equation and the reasons);
            - ``score``: the same, but the median gets 0.5, for rankings of candidate edges by an inference method;
            - ``sign``: -1, 0, +1, or words as ``+``, ``activation``; empty means unknown;
            - ``evidence``: a tag per edge.

            The first of ``probability``, ``confidence``, ``weight``, ``score`` that is there gives the probability.
            Without ``sign``, the signs are those of ``weight`` or ``score`` if any of these is negative.
        name
            Name of the network, and evidence tag of the edges of a table without ``evidence``.
        default_probability
            Of an edge that is just listed. 0.9 (log-odds 2.2): believed, but a handful of data can overrule it; how far
            a whole source is trusted is for the edge prior's coefficient to learn.
        duplicates
            ``"error"`` refuses repeated pairs; ``"mean"`` averages their probability, keeps the sign if all that have
            one agree (else 0), and joins the evidence. ``"conflict"`` does the same but refuses pairs of which rows
            disagree in their sign, ``"networks"`` refuses a table of which a column tells repeated pairs apart
            (several cell types, levels of noise), as it holds several networks.
        signed
            False ignores all signs, True also takes the sign of positive-only weights and of ``sign`` columns that hold
            other numbers than -1, 0, +1; the default takes neither of these two.

        Raises
        ------
        ValueError
            For missing columns, missing names, a probability outside (0, 1) (naming the row), repeated pairs, or no
            edges.
        """
        edges = interpret_edges(
            frame, name=name, default_probability=default_probability, duplicates=duplicates, signed=signed
        )
        columns = {column: edges[column].to_numpy() for column in COLUMNS}
        return cls(**columns, name=name, notes=tuple(edges.attrs["notes"]))

    @classmethod
    def from_matrix(
        cls,
        frame: pd.DataFrame,
        *,
        name: str,
        orientation: Literal["source-target", "target-source"] = "source-target",
        default_probability: float = 0.9,
        signed: bool | None = None,
    ) -> "PriorNetwork":
        """Network from a labelled matrix, whose non-zero cells are the weights of edges as in `from_edges`.

        Parameters
        ----------
        frame
            Numbers, shape (source, target) or (target, source), names on both axes.
        name, default_probability, signed
            As in `from_edges`.
        orientation
            ``"source-target"``: regulators in rows, as everywhere in this package and in PHOENIX; ``"target-source"``:
            genes in rows, as in the inferelator.

        Raises
        ------
        ValueError
            For another orientation, repeated names, missing or infinite cells, no edges.
        """
        if orientation not in ("source-target", "target-source"):
            raise ValueError(f"`orientation` is {orientation!r}; expected 'source-target' or 'target-source'")
        clean = finite_matrix(frame, name)
        edges = matrix_to_edges(clean, rows_are_sources=orientation == "source-target")
        return cls.from_edges(edges, name=name, default_probability=default_probability, signed=signed)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike,
        *,
        format: str | None = None,
        name: str | None = None,
        genes: Sequence[str] | str | os.PathLike | None = None,
        where: Mapping[str, object] | None = None,
        default_probability: float = 0.9,
        duplicates: Duplicates | None = None,
        signed: bool | None = None,
    ) -> "PriorNetwork":
        """Read a network or prior file; plain or gzip.

        Parameters
        ----------
        path
            A file in one of `pyrogrn.priors.formats.FORMATS`.
        format
            Name of the format; by default it is found from the content.
        name
            Name of the network; by default the file's name without ``.csv``, ``.gmt.gz`` and the like.
        genes
            Gene names, or a file with one per line, for matrices (PHOENIX) and gene numbers (SERGIO) without names.
        where
            Column -> value: rows to take from a file that holds several networks, e.g. ``{"cell_type": "B cell"}``.
        default_probability, signed
            As in `from_edges`.
        duplicates
            As in `from_edges`; by default ``"networks"``, but ``"mean"`` for formats in which repeats are normal
            (BEELINE's truths, geneRNIB, TRRUST).

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            For anything wrong with the file or its contents, in one line that starts with its path.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "motif.tsv"
        >>> _ = path.write_text("TF\\ttarget\\timportance\\nSPI1\\tCSF1R\\t3.5\\nGATA1\\tKLF1\\t7.0\\n")
        >>> PriorNetwork.read(path)
        PriorNetwork('motif', 2 edges, 2 sources, 2 targets, 0 signed)
        """
        table, chosen = read_edge_table(path, format=format, genes=genes, where=where)
        stem = SUFFIXES.sub("", Path(path).name)
        try:
            return cls.from_edges(
                table,
                name=name or stem,
                default_probability=default_probability,
                duplicates=duplicates or ("networks" if chosen.duplicates == "error" else chosen.duplicates),
                signed=signed,
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def write(self, path: str | os.PathLike, *, format: str = "edges") -> None:
        """Write the network, gzip-compressed if the name ends in ``.gz``; only a complete file replaces an old one.

        Parameters
        ----------
        path
            File to write.
        format
            Name of a format; ``"edges"`` (csv, or tab separated for ``.tsv``) keeps everything but the network's name.
            What another format cannot carry is in ``loses`` of its entry in `pyrogrn.priors.formats.FORMATS`.

        Raises
        ------
        ValueError
            For an unknown or read-only format, a network without edges, or a place that cannot be written.
        """
        write_edge_table(self.to_frame(), path, format)

    # -- meeting the data ----
    def align(
        self, tfs: Sequence[str], targets: Sequence[str], *, check_orientation: bool = True
    ) -> tuple["PriorNetwork", AlignmentReport]:
        """Keep the edges from ``tfs`` to ``targets``, without self-edges.

        Parameters
        ----------
        tfs, targets
            Names in the data. They are compared as they are; case is never changed.
        check_orientation
            Refuse also a network of which some edges match but clearly more with source and target exchanged (a quarter
            more, and beyond three standard errors), and which has more sources than targets. Regulators are few and
            targets many, so its columns are swapped. In 90 pairs of a published network and a human or mouse data set
            the exchanged edges never outnumbered the others.

        Returns
        -------
        network, report
            The edges that are left, in their order, and the `AlignmentReport` of what was dropped.

        Raises
        ------
        ValueError
            If no edge is left, saying the likely cause (swapped columns, upper and lower case, Ensembl ids against
            symbols, other names), or if the columns look swapped.
        """
        source_known, target_known = is_among(self.sources, tfs), is_among(self.targets, targets)
        from_tf, to_target = source_known[self._source_code], target_known[self._target_code]
        is_self = self._own_target()[self._source_code] == self._target_code
        kept = from_tf & to_target & ~is_self
        if not kept.any() or (check_orientation and len(self.sources) > len(self.targets)):
            turned_source, turned_target = is_among(self.sources, targets), is_among(self.targets, tfs)
            turned = turned_source[self._source_code] & turned_target[self._target_code] & ~is_self
            if not kept.any():
                raise ValueError(
                    explain_mismatch(self.name, self.sources, self.targets, set(tfs), set(targets), int(turned.sum()))
                )
            refuse_swapped(self.name, int(kept.sum()), int(turned.sum()), len(self.sources), len(self.targets))
        report = AlignmentReport(
            name=self.name,
            edges_in=len(self),
            edges_out=int(kept.sum()),
            dropped_unknown_source=int((~from_tf).sum()),
            dropped_unknown_target=int((from_tf & ~to_target).sum()),
            dropped_self=int((from_tf & to_target & is_self).sum()),
            sources_in=len(self.sources),
            targets_in=len(self.targets),
            sources_matched=int(source_known.sum()),
            targets_matched=int(target_known.sum()),
            num_tfs=len(tfs),
            num_targets=len(targets),
            unknown_sources=tuple(np.array(self.sources, dtype=object)[~source_known][:5]),
            unknown_targets=tuple(np.array(self.targets, dtype=object)[~target_known][:5]),
        )
        return self._take(kept), report

    def matrix(self, tfs: Sequence[str], targets: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Dense probability and sign; edges outside the names are left out.

        Returns
        -------
        probability, sign
            float32 and int8, shape (tf, target) in the order given, 0 where there is no edge.

        Raises
        ------
        ValueError
            If a name is given twice on an axis.
        """
        row = places(tfs, self.sources, "tfs")[self._source_code]
        column = places(targets, self.targets, "targets")[self._target_code]
        inside = (row >= 0) & (column >= 0)
        cell = row[inside] * len(targets) + column[inside]
        probability = np.zeros(len(tfs) * len(targets), dtype=np.float32)
        sign = np.zeros(len(tfs) * len(targets), dtype=np.int8)
        # rounding to float32 must not make a probability of 1, whose log-odds are infinite
        tiny, below_one = np.finfo(np.float32).tiny, np.nextafter(np.float32(1), np.float32(0))
        probability[cell] = np.clip(self.probability[inside].astype(np.float32), tiny, below_one)
        sign[cell] = self.sign[inside]
        return probability.reshape(len(tfs), len(targets)), sign.reshape(len(tfs), len(targets))

    # -- corruption ----
    def corrupted(
        self,
        fraction: float,
        generator: np.random.Generator,
        *,
        sources: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
    ) -> "PriorNetwork":
        """Move a share of the edges to random places, as DASH (Hossain et al. 2024, B.3.1) makes misspecified priors.

        Parameters
        ----------
        fraction
            Share of edges to move, in [0, 1]; the nearest whole number is moved.
        generator
            Source of randomness.
        sources, targets
            Names between which edges may be placed; by default the network's own. Pass the TFs and genes of the data so
            that genes the prior says nothing of can receive edges.

        Returns
        -------
        PriorNetwork
            As many edges; sign, probability and evidence travel with an edge. A moved edge lands where no edge was and
            where source and target differ (in a very dense network, when such places run out, also where another edge
            was moved away).

        Raises
        ------
        ValueError
            For a fraction outside [0, 1], names given twice, or too little room.
        """
        fraction = check_fraction(fraction, "fraction")
        rows = np.array(self.sources if sources is None else sources, dtype=object)
        columns = np.array(self.targets if targets is None else targets, dtype=object)
        row = places(rows, self.sources, "sources")[self._source_code]
        column = places(columns, self.targets, "targets")[self._target_code]
        cell = np.where((row >= 0) & (column >= 0), row * columns.size + column, -1)
        own = places(columns, rows, "targets")
        self_cells = np.arange(rows.size)[own >= 0] * columns.size + own[own >= 0]
        moved = choose_share(len(self), fraction, generator)
        new = relocate(cell, self_cells, rows.size * columns.size, moved, generator)
        source, target = self.source.copy(), self.target.copy()
        if moved.size:
            source[moved], target[moved] = rows[new // columns.size], columns[new % columns.size]
        return self._with(source=source, target=target)

    def shuffled(self, generator: np.random.Generator) -> "PriorNetwork":
        """Random network with the same number of edges into and out of every gene, by swapping targets between edges.

        Sign, probability and evidence stay with the source's edge; self-edges stay where they are and none is made.
        """
        code = swap_targets(self._source_code, self._target_code, self._own_target(), len(self.targets), generator)
        return self._with(target=np.array(self.targets, dtype=object)[code])

    def sign_flipped(self, fraction: float, generator: np.random.Generator) -> "PriorNetwork":
        """Turn the sign of a share of the edges whose sign is known; ``ValueError`` for a fraction outside [0, 1]."""
        signed = np.flatnonzero(self.sign)
        flipped = signed[choose_share(signed.size, check_fraction(fraction, "fraction"), generator)]
        sign = self.sign.copy()
        sign[flipped] *= -1
        return self._with(sign=sign)

    def dropped(self, fraction: float, generator: np.random.Generator) -> "PriorNetwork":
        """Remove a share of the edges; ``ValueError`` for a fraction outside [0, 1]."""
        kept = np.ones(len(self), dtype=bool)
        kept[choose_share(len(self), check_fraction(fraction, "fraction"), generator)] = False
        return self._take(kept)

    def held_out(self, targets: Iterable[str]) -> "PriorNetwork":
        """The network without any edge into these targets; ``ValueError`` if one is not a target of the network."""
        names, known = list(targets), set(self.targets)
        unknown = [n for n in names if n not in known]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(names)} `targets` are not targets of network '{self.name}': {shorten(unknown)}"
            )
        return self._take(~is_among(self.targets, names)[self._target_code])

    def hold_out_targets(
        self, fraction: float, generator: np.random.Generator
    ) -> tuple["PriorNetwork", tuple[str, ...]]:
        """Hold out a share of the targets: the network without their rows, and their names in the network's order.

        ``ValueError`` for a fraction outside [0, 1].
        """
        chosen = choose_share(len(self.targets), check_fraction(fraction, "fraction"), generator)
        names = tuple(self.targets[i] for i in np.sort(chosen))
        return self.held_out(names), names

    # -- inside ----
    def _with(self, **changed: np.ndarray) -> "PriorNetwork":
        columns = {key: getattr(self, key) for key in COLUMNS}
        return PriorNetwork(**(columns | changed), name=self.name)

    def _take(self, rows: np.ndarray) -> "PriorNetwork":
        return self._with(**{key: getattr(self, key)[rows] for key in COLUMNS})

    def _cell(self) -> np.ndarray:
        return self._source_code * max(len(self.targets), 1) + self._target_code

    def _own_target(self) -> np.ndarray:
        """For each source the code of the target of the same name, or -1, shape (source,)."""
        return places(self.targets, self.sources, "targets")
