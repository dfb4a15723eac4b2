"""The command that ablates prior knowledge: what it writes, resuming, and every bad input in one line."""

import re

import numpy as np
import pandas as pd
import pytest
import typer
from pyrogrn.experiments.ablation import AblationResult
from pyrogrn.experiments.commands.ablate_command import ablate_command, numbers, whole_numbers
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import PriorNetwork


def call(*arguments):
    """The command on its own; user errors are raised, as the entry point gets them."""
    app = typer.Typer()
    app.command()(ablate_command)
    return app([str(a) for a in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ablate")
    toy = simulate_linear(num_genes=10, num_tfs=3, num_cells=40, edge_probability=0.4, seed=0)
    cells = [f"c{i}" for i in range(40)]
    pd.DataFrame(toy.data.X.numpy(), index=cells, columns=toy.data.genes).to_csv(path / "x.csv", index_label="cell")
    toy.network[["source", "target", "sign"]].to_csv(path / "truth.csv", index=False)
    (path / "tfs.txt").write_text("\n".join(toy.data.tfs))
    known = PriorNetwork.from_edges(toy.network[["source", "target", "sign"]], name="chip")
    known.to_frame().to_csv(path / "chip.csv", index=False)
    turned = known.sign_flipped(1.0, np.random.default_rng(0))
    turned.to_frame().to_csv(path / "motif.csv", index=False)
    (path / "far.csv").write_text("source,target\nx,y\n")
    toy.network[["source", "target"]].to_csv(path / "bare.csv", index=False)
    (path / "sure.csv").write_text("source,target,probability\nG0000,G0005,1.5\n")
    (path / "twice.csv").write_text("source,target\nG0000,G0005\nG0000,G0005\n")
    return path


def quick(folder, *more, out="out"):
    base = (folder / "x.csv", "--tfs", folder / "tfs.txt", "--prior", f"chip={folder}/chip.csv")
    rest = ("--seeds", "0,1", "--chains", 2, "--steps", 8, "--backend", "serial", "--out", folder / out)
    return (*base, *rest, *more)


@pytest.fixture(scope="module")
def done(folder):
    more = ("--prior", f"motif={folder}/motif.csv", "--truth", folder / "truth.csv", "--corrupt", "0.5,1")
    call(*quick(folder, *more, "--method", "linear", "--method", "prior-only"))
    return folder / "out"


def test_everything_is_written(done):
    names = {p.name for p in done.iterdir()}
    tables = {f"{name}.csv" for name in ("rows", "summary", "trust", "sources", "break_even")}
    assert tables | {"settings.json", "report.html", "runs", "figure_sources.svg", "figure_bits.svg"} <= names
    assert "figure_moved_log_score_bits.svg" in names
    result = AblationResult.read(done)
    assert len(result.rows) == 2 * 2 * 6
    assert set(result.rows["change"]) >= {"no source", "chip alone", "motif alone", "all sources, 50% moved"}
    assert "contradict each other in sign" in result.notes[0]
    page = (done / "report.html").read_text()
    assert page.count("<figure>") >= 4
    assert "of it noise (bits)" in page
    assert "contradict each other" in page
    for heading in ("What each source is worth", "How wrong a source may be", "Trust in each source"):
        assert heading in page
    assert not re.search(r"\bnan\b", re.sub(r'src="[^"]*"', "", page))


def test_resuming_repeats_nothing(done, folder):
    before = {p: p.stat().st_mtime_ns for p in (done / "runs").iterdir()}
    more = ("--prior", f"motif={folder}/motif.csv", "--truth", folder / "truth.csv", "--resume")
    call(*quick(folder, *more))
    assert {p: p.stat().st_mtime_ns for p in (done / "runs").iterdir()} == before


def test_without_truth_there_are_bits(folder):
    call(*quick(folder, "--hold-out-cells", 0, out="plain"))
    result = AblationResult.read(folder / "plain")
    assert result.rows["average_precision"].isna().all()
    assert result.rows["gain_bits"].notna().all()
    assert "Neither a truth nor held-out cells" in (folder / "plain" / "report.html").read_text()


BAD = {
    "no-overlap": (["--prior", "far={}/far.csv"], "prior 'far' has no edge"),
    "probability": (["--prior", "sure={}/sure.csv"], "row 1 has probability 1.5"),
    "repeated": (["--prior", "twice={}/twice.csv?duplicates=error"], "listed more than once"),
    "same-name": (["--prior", "chip={}/chip.csv"], "given twice"),
    "method": (["--method", "magic"], "unknown method 'magic'"),
    "strategy": (["--strategy", "magic"], "unknown strategy 'magic'"),
    "trust": (["--trust", "much"], "--trust much: expected numbers"),
    "share": (["--corrupt", "1.5"], "between 0 and 1"),
    "not-a-number": (["--flip", "half"], "--flip half"),
    "damage": (["--corrupt", "0.5", "--damage", "q"], "not among the sources"),
    "chains": (["--chains", "0"], "--chains 0"),
    "dask": (["--backend", "dask"], "go together"),
    "resume": (["--resume"], "nothing to resume"),
    "seed-infinite": (["--seeds", "inf"], "--seeds inf: expected whole numbers"),
    "seed-half": (["--seeds", "0.5"], "--seeds 0.5: expected whole numbers"),
    "seed-nan": (["--seeds", "nan"], "--seeds nan: expected whole numbers"),
    "seed-negative": (["--seeds=-1"], "--seeds -1: expected whole numbers"),
    "seed-none": (["--seeds", ""], "expected whole numbers"),
    "seed-twice": (["--seeds", "1,1"], "seeds has 1 more than once"),
    "zscore": (["--normalize", "zscore"], "--normalize zscore"),
    "backend": (["--backend", "threads"], "unknown backend 'threads'"),
    "unsigned": (["--prior", "bare={}/bare.csv", "--flip", "0.5", "--damage", "bare"], "has a sign to flip"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(folder, name):
    options, message = BAD[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call(*quick(folder, *(str(o).format(folder) for o in options), out=f"bad-{name}"))
    assert "\n" not in str(caught.value)
    assert not (folder / f"bad-{name}").exists()


def test_a_used_folder_is_not_overwritten(done, folder):
    with pytest.raises(ValueError, match="is not empty: pass --resume"):
        call(*quick(folder))


def test_numbers_are_read():
    assert numbers("--corrupt", "0.1, 0.5,") == [0.1, 0.5]
    assert numbers("--corrupt", "") == []
    assert whole_numbers("--seeds", "0, 12,") == [0, 12]
