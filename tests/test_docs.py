"""README and guide do what they say: every block of code runs, in the order of the page, and links lead somewhere.

A page is run in one folder and its Python blocks in one namespace. Commands run as they stand, only shorter and on
smaller data (`SMALLER`): options given twice count as given last. A fence that is not run says so and why:
```` ```bash no-run (reason) ````.
"""

import io
import random
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from matplotlib.figure import Figure
from written_tables import listed_tables, tables_in, unlisted

ROOT = Path(__file__).resolve().parents[1]
RUN_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
LINKED_PAGES = [
    *RUN_PAGES,
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "results").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
]
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NOT_RUN = 3  # installing, and clusters

SMALLER = {
    "simulate linear": "--genes 20 --cells 60",
    "simulate muvi": "--genes 40 --cells 60 --sets 2 --set-size 12",
    "simulate sergio": "--genes 40 --tfs 8 --types 3 --cells 80",
    "simulate ode": "--genes 8 --trajectories 12",
    "simulate panel": "--genes 12",
    "infer": "--steps 12 --restarts 2 --set guide.num_warmup=10",
    "infer muvi": "--steps 20 --restarts 2",
    "infer ppca": "--steps 20 --restarts 1",
    "infer grnular": "--steps 12 --restarts 2",
    "infer cellbox": "--steps 20 --restarts 1",
    "infer celloracle": "",
    "infer netrex-cf": "--steps 12 --restarts 2",
    "infer pmf-grn": "--steps 6 --restarts 1 --set fit.num_draws=60",
    "infer phoenix": "--steps 6 --restarts 1 --set guide.epochs=4 --set guide.svi_steps=5",
    "calibrate": "--targets 8 --worlds 1 --steps 12 --restarts 2 --set guide.num_warmup=10",
    "train": "--family clean --batches 2 --graphs 1 --steps 20 --iterations 2 --epochs 4 --inner 1 --max-cells 30",
    "ablate": "--seeds 0 --chains 2 --steps 8 --backend serial",
    "influence": "--starts 4 --draws 2",
    "predict": "--draws 20",
    "flux": "--draws 4",
    "course": "--draws 4",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    attributes: str
    code: str


def blocks(page: Path) -> list[Block]:
    return [Block(language, attributes.strip(), code) for language, attributes, code in FENCE.findall(page.read_text())]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def small_data() -> None:
    run_commands("pyrogrn simulate linear --seed 1 --out data")


def responses_to_drugs() -> None:
    """Twelve conditions of two drugs, two proteins and a phenotype."""
    rng = np.random.default_rng(0)
    nodes = ["aMEK", "aAKT", "P1", "P2", "growth"]
    conditions = [f"c{i}" for i in range(12)]
    inputs = np.zeros((12, 5))
    inputs[:, :2] = -rng.integers(0, 2, (12, 2))
    levels = np.tanh(inputs @ rng.normal(size=(5, 5)) * 0.5 + inputs) + 0.02 * rng.normal(size=(12, 5))
    pd.DataFrame(levels, conditions, nodes).to_csv("responses.csv")
    pd.DataFrame(inputs, conditions, nodes).to_csv("drugs.csv")
    kinds = ["drug_activity", "drug_activity", "protein", "protein", "phenotype"]
    pd.DataFrame({"node": nodes, "kind": kinds}).to_csv("nodes.csv", index=False)


def own_cells() -> None:
    """Counts of cells with four regulators, and their names."""
    rng = np.random.default_rng(0)
    logs, effects = rng.normal(3, 0.5, (200, 4)), rng.choice([-0.7, 0, 0, 0.7], (4, 56))
    counts = rng.poisson(np.exp(np.hstack([logs, 3 + (logs - 3) @ effects])))
    genes = [f"G{i}" for i in range(60)]
    anndata.AnnData(counts.astype("float32"), var=pd.DataFrame(index=genes)).write_h5ad("cells.h5ad")
    Path("tfs.txt").write_text("\n".join(genes[:4]) + "\n")


FILES_OF = {
    "first.md": own_cells,
    "panels.md": responses_to_drugs,
    "sweeps.md": small_data,
}  # what a page takes as the reader's own


@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_code_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Figure, "savefig", save_nothing)  # figures have tests of their own, and take half of the time
    FILES_OF.get(page.name, lambda: None)()
    given = tables_in(tmp_path)
    namespace, state = {"__name__": "page"}, random.getstate()
    with torch.random.fork_rng(devices=[]):  # SVI by hand draws from the global generator
        for block in blocks(page):
            if block.attributes.startswith("no-run"):
                continue
            if block.language == "bash":
                run_commands(block.code)
            else:
                exec(compile(block.code, name_of(page), "exec"), namespace)
    random.setstate(state)  # libraries that are imported on the way have drawn from it
    assert not unlisted(tmp_path, given=given), "docs/guide/files.md lists the columns of every table that is written"


def save_nothing(figure: Figure, target: object, **options: object) -> None:
    """In place of a figure a drawing with nothing but the groups that are looked for in it."""
    names = {artist.get_gid() for artist in figure.findobj()} - {None}
    groups = "".join(f'<g id="{name}"><path d=""/></g>' for name in sorted(names))
    text = f'<svg xmlns="http://www.w3.org/2000/svg">{groups}</svg>'
    if hasattr(target, "write"):
        target.write(text if isinstance(target, io.StringIO) else text.encode())
    else:
        Path(target).write_text(text)


def run_commands(code: str) -> None:
    """Every line of a shell block; only ``pyrogrn`` is called."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "pyrogrn", f"only pyrogrn can be run: {line}"
        exit_code, _, errors = call(*words[1:], *smaller(words[1:]))
        assert exit_code == 0, f"{line}\n{errors}"


def smaller(words: list[str]) -> list[str]:
    """Options that make a command short."""
    if words[0] == "simulate":
        return SMALLER[" ".join(words[:2])].split()
    method = words[words.index("--method") + 1] if words[0] == "infer" and "--method" in words else ""
    return SMALLER.get(f"{words[0]} {method}", SMALLER.get(words[0], "")).split()


def test_blocks_say_what_they_are_and_few_are_not_run():
    not_run = []
    for page in RUN_PAGES:
        for block in blocks(page):
            assert block.language in ("bash", "python"), f"{name_of(page)}: a block of {block.language!r}"
            if block.attributes:
                assert re.fullmatch(r"no-run \(.+\)", block.attributes), f"{name_of(page)}: {block.attributes}"
                not_run.append(name_of(page))
    assert len(not_run) <= NOT_RUN, not_run


def test_readme_is_short():
    readme = ROOT / "README.md"
    assert len(readme.read_bytes()) <= 12 * 1024
    first = next(block for block in blocks(readme) if block.language == "python")
    assert len(first.code.strip().splitlines()) <= 10


@pytest.mark.parametrize("page", LINKED_PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    broken = [link for link in LINK.findall(text) if not link.startswith("http") and not leads(page, link)]
    assert not broken, broken


def leads(page: Path, link: str) -> bool:
    """Whether the file is there, and in it the heading."""
    path, _, heading = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not heading or heading in headings(target))


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_columns_of_the_page_are_columns_of_the_code():
    tables = listed_tables()
    assert len(tables) > 30
    files = [
        path for folder in ("priors", "models", "inference", "experiments") for path in (ROOT / folder).rglob("*.py")
    ]
    code = "".join(path.read_text() for path in files)
    words = set(re.findall(r"['\w-]+", code))
    named = {name for table in tables for name in (*table.always, *table.sometimes) if "*" not in name}
    unknown = {name for name in named if name not in words and name.removeprefix("'") not in words}
    assert not unknown - {f"delta_{name}_se" for name in ("average_precision", "log_score_bits", "elpd")}


def test_a_table_with_another_column_is_seen(tmp_path):
    table = pd.DataFrame({"group": ["a"], "regulator": ["A"], "mean": [1.0], "cells": [3]})
    table.to_csv(tmp_path / "decoupler_by_group.csv", index=False)
    assert not unlisted(tmp_path)
    table.assign(more=1).to_csv(tmp_path / "decoupler_by_group.csv", index=False)
    assert len(unlisted(tmp_path)) == 1
    table.drop(columns="mean").to_csv(tmp_path / "decoupler_by_group.csv", index=False)
    assert len(unlisted(tmp_path)) == 1
    table.rename(columns={"group": "other"}).to_csv(tmp_path / "any.csv", index=False)
    assert len(unlisted(tmp_path)) == 2


def test_every_page_of_the_guide_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert not [p.name for p in RUN_PAGES[1:] if f"docs/guide/{p.name}" not in readme]


def test_the_model_to_add_is_the_one_that_is_tested():
    tested = (ROOT / "tests" / "test_outside_model.py").read_text()
    first, last = tested.index("class Steps(Model)"), tested.index("ROW = ModelRow(")
    objects = tested[first : tested.index("\n", last)]
    assert objects in (ROOT / "docs" / "adding.md").read_text()
