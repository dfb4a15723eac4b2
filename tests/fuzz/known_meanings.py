"""Changes of files whose meaning is known: labels, signs as words, scale, what is no gene, which way round."""

from pathlib import Path

import numpy as np
import pandas as pd
from pyrogrn.experiments.files.network_files import NetworkFile
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.models.data.scale import ZSCORES, scale_of
from pyrogrn.priors.perturbation_labels import read_labels

from .sources import GENES, TFS, frame

Generator = np.random.Generator
GUIDES = ("{}", "{}_g2", "sg{}_1", "KO_{}", "{}KO", "{} (sg2)", "{}+ctrl", "['{}']", "{}_+_12.3-P1P2", "{}+/-", '"{}"')
PAIRS = ("{}+{}", "{}_{}", "{}|{}", "{} and {}", "{}~{}", "['{}', '{}']", "sg{}_1_sg{}_2", "{}_{}__{}_{}")
CONTROLS = ("NTC", "non-targeting", "NT1", "NO_SITE", "safe_targeting_12", "ctrl+ctrl", "negative_ctrl_1", "sgROSA")
NOBODY_KNOWS = ("nan", "unassigned", "doublet|{}", "{}_unassigned", "NTC|unassigned", "NA,NA", "n.d.", "{} odd {}x")
WORDS = {
    1: ("activation", "de-repression", "pos", "inhibition of repressor", "coactivator", "(+)", "\u2192"),
    -1: ("repression", "reduces", "neg", "corepressor", "(-)", "\u22a3", "down-regulates quantity by repression"),
    0: ("unknown", "not activated", "loss of activation", "activator (dual)", "non-repressing", "?"),
}


def labels_written(rng: Generator, folder: Path) -> Path:
    """A label a cell in any spelling, beside what it means."""
    rows = []
    for _ in range(40):
        kind = int(rng.integers(4))
        style = str(rng.choice((GUIDES, PAIRS, CONTROLS, NOBODY_KNOWS)[kind]))
        one, other = (GENES[i] for i in rng.choice(len(GENES), 2, replace=False))
        label = style.format(*((one, other) * 2 if kind == 1 else (one,) * 4))
        rows.append((label, (one, f"{one}+{other}", "", "?")[kind]))
    path = folder / "labels.csv"
    pd.DataFrame(rows, columns=["label", "meaning"]).to_csv(path, index=False)
    return path


def labels_mean(path: Path) -> None:
    """Each label is its genes, a control or dropped; nothing that is unknown is a control."""
    table = pd.read_csv(path, keep_default_na=False)
    read = read_labels(table["label"].tolist(), GENES)
    for label, meaning, known, genes in zip(table["label"], table["meaning"], read.known, read.genes, strict=True):
        found = "+".join(genes) if known else "?"
        assert found == meaning, f"{label!r} read as {found!r}, is {meaning!r}"


def signs_written(rng: Generator, folder: Path) -> Path:
    """Edges with signs in words, under one of the headers in use."""
    signs = [1, -1, 0]
    rows = [f"{tf}\tT{sign}\t{rng.choice(WORDS[sign])}" for tf, sign in zip(TFS, signs, strict=True)]
    path = folder / "signs.tsv"
    head = str(rng.choice(["mode", "regulation", "Effect", "interaction_type"]))
    path.write_text("\n".join([f"TF\ttarget\t{head}", *(rows[i] for i in rng.permutation(3))]) + "\n")
    return path


def signs_mean(path: Path) -> None:
    """The sign that stands in the target's name."""
    network = NetworkFile.parse(path).read(name="m")
    for target, sign in zip(network.target, network.sign.tolist(), strict=True):
        assert target == f"T{sign}", f"{path.read_text()!r}: {target} read as {sign}"


def with_what_is_no_gene(rng: Generator, folder: Path) -> Path:
    """Annotations or rows of a counter among the genes, either way round."""
    odd = ["n_counts", "batch", "pct_counts_mt", "label", "Total", "__no_feature", "__ambiguous"]
    table = frame().assign(**{name: 7.0 for name in rng.choice(odd, 3, replace=False)})
    table = table.iloc[:, rng.permutation(table.shape[1])]
    path = folder / "odd.csv"
    (table if rng.random() < 0.5 else table.T).to_csv(path)
    return path


def turned(rng: Generator, folder: Path) -> Path:
    """Genes × cells or cells × genes with names that tell nothing."""
    table = frame().set_axis([f"E{i}_7" for i in range(len(frame()))])
    path = folder / "turned.csv"
    (table if rng.random() < 0.5 else table.T).to_csv(path)
    return path


def voted(path: Path) -> None:
    """Names of a prior or of the truth decide."""
    for what in ("prior 'm'", "the truth"):
        data = read_expression(path, tfs=None, known={what: ["KLF1", "HBB", "MYC"]})
        assert sorted(data.genes) == sorted(GENES), f"{what}: genes {data.genes}"


def scaled(rng: Generator, folder: Path) -> Path:
    """Z-scores, whole or clipped at zero or above."""
    values = rng.gamma(2.0, size=(200, 30))
    values = (values - values.mean(0)) / values.std(0)
    clip = [(None, None), (0.0, None), (0.0, 10.0), (-3.0, 3.0)][int(rng.integers(4))]
    path = folder / "scaled.csv"
    pd.DataFrame(values if clip == (None, None) else values.clip(*clip)).to_csv(path)
    return path


def no_level(path: Path) -> None:
    """Not taken for levels, logarithms or counts."""
    kind = scale_of(pd.read_csv(path, index_col=0).to_numpy()).kind
    assert kind in (ZSCORES, "scaled", "negative"), f"taken for {kind}"
