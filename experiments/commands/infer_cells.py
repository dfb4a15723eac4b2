"""How ``pyrogrn infer`` reads its cells, and which method they ask for."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ...models import ExpressionData
from ..files.likely_keys import likely_keys
from ..files.needed_notes import needed_notes
from ..files.readers import read_expression
from ..fitting import METHODS
from ..preflight import AUTO, normalization_for
from ..wording import in_options
from .infer_kinds import INFERS
from .infer_notes import suggestion_of
from .infer_options import InferOptions
from .options import parse_columns
from .terminal import say


class CellsRead(NamedTuple):
    """Cells, and the arguments with which `read_expression` read them."""

    data: ExpressionData
    how: dict[str, Any]


def with_method(options: InferOptions) -> tuple[InferOptions, CellsRead | None]:
    """The options with a method in place of ``auto``, which is said; the cells are read for it where nothing or labels
    of perturbations alone say what they are, and columns that say it by their names are taken. What was read is handed
    on: a large file is not read a second time for its fit."""
    if options.method != AUTO:
        return options, None
    found, before = suggestion_of(options, None), None
    if found.method == "linear":
        before = read_cells(replace(options, method=found.method, normalize="none"))
        options = _with_keys(options, before.data)
        if options.perturbation_key is not None and before.data.perturbed is None:
            before = read_cells(replace(options, method=found.method, normalize="none"))
        found = suggestion_of(options, before.data)
    say(f"method {found}")
    return replace(options, method=found.method), before


def _with_keys(options: InferOptions, data: ExpressionData) -> InferOptions:
    """With the options of the columns that nobody had to name; said, in the words that another method takes."""
    if len(options.expression) > 1 or options.perturbation_key is not None or options.context_key is not None:
        return options
    keys = likely_keys(data)
    taken = {f"{name}_key": column for name, column in keys._asdict().items() if column is not None}
    if taken:
        words = " ".join(f"--{name.replace('_', '-')} {column}" for name, column in taken.items())
        say(f"columns are taken as what they are called: {words}")
    return replace(options, **taken)


def read(
    options: InferOptions, known: Mapping[str, Collection[str]] | None = None, before: CellsRead | None = None
) -> ExpressionData:
    """The cells, with what is worth saying about them; says how many there are. ``known`` as in `read_expression`."""
    data = read_cells(options, known, before).data
    model = METHODS[options.method]
    data = data.with_missing(data.missing, *map(in_options, needed_notes(model, data)))
    for note in data.notes:
        say(note)
    rows = "conditions" if {"perturbed", "inputs"} & set(model.needs) else "cells"
    say(f"{data.num_cells} {rows}, {data.num_genes} genes, {INFERS[model.infers].parts(data)}")
    return data


def read_cells(
    options: InferOptions, known: Mapping[str, Collection[str]] | None = None, before: CellsRead | None = None
) -> CellsRead:
    """The cells as the options have them, and how they were read; nothing is said. Those of ``before`` where they were
    read so."""
    how: dict[str, Any] = {
        "paths": options.expression,
        "tfs": options.tfs,
        "layer": options.layer,
        "normalize": normalization_for(options.method, options.normalize, counted=bool(options.likelihood)),
        "context_key": options.context_key,
        "perturbation_key": options.perturbation_key,
        "control": options.control or (),
        "unmeasured": options.unmeasured,
        "drop_constant": drop_constant_of(options),
        "top_genes": options.top_genes,
        "covariates": parse_columns(options.covariates),
        "missing": options.missing,
        "inputs": options.inputs,
        "time_key": options.time_key,
        "trajectory_key": options.trajectory_key,
        "metacells": options.metacells,
        "genes_in": options.genes_in,
        "min_cells": options.min_cells,
        "known": known or None,
    }
    return before if before is not None and before.how == how else CellsRead(read_expression(**how), how)


def drop_constant_of(options: InferOptions) -> bool | None:
    """Whether genes without variance are left out: by default where finding them costs no pass over a file beside that
    which the method takes, but no node of CellBox, on which inputs may act."""
    if options.drop_constant is None and "inputs" in METHODS[options.method].needs:
        return False
    return options.drop_constant
