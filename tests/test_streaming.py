"""Files that are streamed: the statistics of those in memory, in blocks, with progress; genes without variance."""

import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from command_line import call
from pyrogrn import LinearNetwork
from pyrogrn.experiments.commands import passes as passes_module
from pyrogrn.experiments.commands.passes import told_passes
from pyrogrn.experiments.files import csc_rows, stored
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.experiments.files.varying import without_constant
from pyrogrn.inference.recalibration import TrialOptions, tune
from pyrogrn.inference.recalibration import cells as held
from pyrogrn.models.data import gathered, matrix, running
from pyrogrn.models.data.passes import listening
from pyrogrn.models.simulators import simulate_linear

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
CELLS, GENES = 240, 15
TFS = [f"g{i}" for i in range(4)]
FIELDS = ("count", "mean", "cross", "square", "minimum")
KINDS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(3)
    table = rng.poisson(rng.gamma(0.3, 2.0, size=(CELLS, GENES))).astype(np.float32)
    table[:, 0] += rng.poisson(40, CELLS)
    table[7] = 0  # a cell without counts
    return table


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks and scratch files, and the way for mostly zeros, at a size that a test can have."""
    monkeypatch.setattr(matrix, "MOST_ROWS", 50)
    monkeypatch.setattr(csc_rows, "AT_ONCE", 300)
    monkeypatch.setattr(running, "FEWEST", 1)


def write(counts, kind, suffix, folder):
    path = folder / f"{kind}.{suffix}"
    obs = pd.DataFrame({"kind": np.where(np.arange(CELLS) % 3, "a", "b")}, index=[f"c{i}" for i in range(CELLS)])
    adata = anndata.AnnData(KINDS[kind](counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]))
    (adata.write_h5ad if suffix == "h5ad" else adata.write_zarr)(path)
    return path


def close(one, other):
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * float(b.abs().max()), msg=name)


@pytest.mark.parametrize("normalize", ["none", "log1p-cpm", "zscore"])
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_statistics_are_those_in_memory(kind, suffix, normalize, counts, small_blocks, tmp_path):
    path = write(counts, kind, suffix, tmp_path)
    read = partial(read_expression, path, tfs=TFS, normalize=normalize, context_key="kind")
    close(read(backed=True).statistics(), read(backed=False).statistics())


def test_zeros_are_passed_over_without_a_trace(counts, monkeypatch):
    thin = torch.from_numpy(counts * (np.random.default_rng(0).uniform(size=counts.shape) < 0.2))
    context = torch.arange(CELLS) % 2
    sums = []
    for share in (1.0, 0.0):  # always, never
        monkeypatch.setattr(running, "FEWEST", 1)
        monkeypatch.setattr(running, "MOSTLY_ZEROS", share)
        sums.append(running.Running(2, GENES, torch.arange(4)))
        for start in range(0, CELLS, 70):
            sums[-1].add(thin[start : start + 70], context[start : start + 70])
    close(*sums)
    x = thin[context == 1].double()
    x = x - x.mean(0)
    torch.testing.assert_close(sums[0].cross[1], x[:, :4].T @ x)


def test_blocks_of_more_entries_than_room_are_taken_dense(monkeypatch):
    monkeypatch.setattr(running, "FEWEST", 1)
    block = torch.zeros(640, 30)
    generator = torch.Generator().manual_seed(0)
    block[5::10] = 1.0 + torch.rand(64, 30, generator=generator)  # rows that the look at every tenth does not see
    block[1::2] += torch.rand(320, 30, generator=generator)
    sums = running.Running(1, 30, torch.arange(3))
    sums.add(block, None)
    x = block.double() - block.double().mean(0)
    torch.testing.assert_close(sums.cross[0], x[:, :3].T @ x)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])  # zeros passed over: in no block, in the thin ones, in all
def test_of_all_genes_half_of_the_products_are_made(share, monkeypatch):
    monkeypatch.setattr(running, "FEWEST", 1)
    monkeypatch.setattr(running, "MOSTLY_ZEROS", share)
    monkeypatch.setattr(running, "FEW_GENES", 20)
    generator = torch.Generator().manual_seed(0)
    cells = 3.0 + torch.randn(200, 30, generator=generator)
    cells[50:120] *= torch.rand(70, 30, generator=generator) < 0.1
    context = torch.arange(200) % 2
    sums = running.Running(2, 30, torch.arange(30))
    assert len(sums.panels) == 8
    for start in range(0, 200, 30):
        sums.add(cells[start : start + 30], context[start : start + 30])
    cross = sums.mirrored()
    for k in range(2):
        x = cells[context == k].double()
        x = x - x.mean(0)
        torch.testing.assert_close(cross[k], x.T @ x)
        assert torch.equal(cross[k], cross[k].T)
    assert not running.Running(1, 30, torch.arange(29, -1, -1)).panels  # in another order there are no halves


@pytest.mark.parametrize("kind", list(KINDS))
def test_any_rows_of_a_streamed_file(kind, counts, small_blocks, tmp_path, monkeypatch):
    data = read_expression(write(counts, kind, "h5ad", tmp_path), tfs=TFS, backed=True)
    rows = np.random.default_rng(1).permutation(CELLS)[:99]
    torch.testing.assert_close(data.rows(rows), torch.from_numpy(counts[rows]))
    torch.testing.assert_close(data.X, torch.from_numpy(counts))
    chosen = data.select_genes(["g3", "g0"])
    torch.testing.assert_close(chosen.X, torch.from_numpy(counts[:, [3, 0]]))
    torch.testing.assert_close(chosen.subset(rows).X, torch.from_numpy(counts[rows][:, [3, 0]]))
    monkeypatch.setattr("pyrogrn.models.data.memory.LEAST", 1)
    monkeypatch.setattr("pyrogrn.models.data.memory.available", lambda: 1000)
    with pytest.raises(ValueError, match="a dense matrix of 240 x 2 numbers needs at least"):
        gathered.gathered(chosen)


def test_scratch_files_of_csc_are_removed_and_need_room(counts, small_blocks, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(csc_rows.tempfile, "tempdir", str(scratch))
    path = write(counts, "csc", "h5ad", tmp_path)
    data = read_expression(path, tfs=TFS, backed=True)
    assert not list(scratch.iterdir())
    data.rows(slice(0, 3))
    assert len([file for file in scratch.rglob("*") if file.is_file()]) > 1
    del data
    assert not list(scratch.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10))
    with pytest.raises(ValueError, match=r"csc.h5ad: is CSC, and to read it by cells .* set TMPDIR"):
        read_expression(path, tfs=TFS, backed=True).rows(slice(0, 3))


def test_what_does_not_fit_is_streamed_and_said(counts, tmp_path, monkeypatch):
    paths = [write(counts, kind, "h5ad", tmp_path) for kind in KINDS]
    for path in paths:
        assert not any("streamed" in note for note in read_expression(path, tfs=TFS).notes)
    monkeypatch.setattr(stored, "available", lambda: 4000)
    for path in paths:
        data = read_expression(path, tfs=TFS)
        assert isinstance(data.matrix, stored.RowsOnDisk)
        assert any("streamed: in memory the matrix would take 0.0 GB, and 0.0 GB are free" in n for n in data.notes)


def test_constant_genes_are_found_in_the_statistics(counts, tmp_path):
    flat = counts.copy()
    flat[:, 2], flat[:, 9], flat[:, 10] = 0, 3, 0
    path = write(flat, "csr", "h5ad", tmp_path)
    data = read_expression(path, tfs=TFS, backed=True)
    left, statistics = without_constant(data, data.statistics())
    expected = read_expression(path, tfs=TFS, backed=False, drop_constant=True)
    assert left.genes == expected.genes == statistics.genes
    assert left.tfs == expected.tfs == statistics.tfs
    assert left.notes[-1] == expected.notes[-1]
    close(statistics, expected.statistics())
    same = without_constant(expected, expected.statistics())
    assert same[0] is expected
    with pytest.raises(ValueError, match="none of the candidate regulators"):
        statistics.with_genes(["g5", "g6"])


def test_statistics_of_chosen_genes_keep_their_interventions(counts):
    frame = pd.DataFrame(counts, columns=[f"g{i}" for i in range(GENES)])
    perturbed = ["g1"] * 30 + ["g12"] * 30 + ["control"] * (CELLS - 60)
    data = read_expression(anndata.AnnData(frame.to_numpy(), var=pd.DataFrame(index=frame.columns)), tfs=TFS)
    data = data.annotated(perturbed=perturbed)
    kept = ["g12", "g0", "g1", "g7"]
    found, expected = data.statistics().with_genes(kept), data.select_genes(kept).statistics()
    close(found, expected)
    for name in ("context", "target", "count", "mean", "own", "gram", "cross", "square"):
        order = [torch.argsort(one.clamped.target) for one in (found, expected)]
        one, other = getattr(found.clamped, name)[order[0]], getattr(expected.clamped, name)[order[1]]
        torch.testing.assert_close(one, other)
    assert data.statistics().with_genes(["g0", "g5"]).clamped is None
    assert LinearNetwork(found).targets == tuple(kept)


def test_passes_are_told_and_can_be_interrupted(counts, small_blocks, tmp_path, capsys, monkeypatch):
    data = read_expression(write(counts, "csc", "h5ad", tmp_path), tfs=TFS, backed=True)
    heard = []
    with listening(lambda *told: heard.append(told)):
        data.statistics()
    assert [told for told in heard if told[0] == "statistics of cells"][-1] == ("statistics of cells", CELLS, CELLS)
    assert heard[0][0] == "a CSC matrix put in order by cells"

    def stop(what, done, total):
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(stop):
        data.statistics()
    monkeypatch.setattr(passes_module, "FEWEST", 1)
    monkeypatch.setattr("pyrogrn.inference.runs.callbacks.QUIET", 0.0)
    with told_passes():
        data.statistics()
    assert "statistics of cells: 100 of 240 (42%), " in capsys.readouterr().err


def test_infer_streams_to_the_edges_in_memory(counts, tmp_path, monkeypatch):
    flat = counts.copy()
    flat[:, 9] = 0
    path = write(flat, "csc", "h5ad", tmp_path)
    names = tmp_path / "tfs.txt"
    names.write_text("\n".join(TFS))
    options = ("infer", path, "--tfs", names, "--normalize", "log1p-cpm", "--steps", 10, "--no-calibrate", "--out")
    assert call(*options, tmp_path / "one")[0] == 0
    monkeypatch.setattr(stored, "available", lambda: 4000)
    code, _, told = call(*options, tmp_path / "two")
    assert code == 0, told
    assert "streamed: in memory the matrix would take" in told
    assert "1 constant gene dropped (1 of them zero in every cell): ['g9']" in told
    one, two = (pd.read_csv(tmp_path / name / "edges.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-4)


def test_the_trial_holds_what_it_may(monkeypatch):
    data = simulate_linear(num_genes=30, num_tfs=5, num_cells=90, seed=0).data
    assert held.held_cells(data, seed=1) is data
    streamed = replace(data, matrix=data.X.numpy())
    found = held.held_cells(streamed, seed=1)
    assert found.genes == data.genes
    torch.testing.assert_close(found.X, data.X)
    monkeypatch.setattr(held, "MOST_NUMBERS", 5 * 40)
    monkeypatch.setattr(held, "MOST_PLAIN", 7)
    fewer = held.held_cells(data, seed=1)
    assert (fewer.num_cells, fewer.num_genes, fewer.tfs) == (40, 12, data.tfs)
    assert fewer.notes[-1] == "the trial on made targets is on 40 of 90 cells, drawn at random"
    assert not torch.equal(fewer.X, held.held_cells(data, seed=2).X)
    made = tune(data, options=TrialOptions(targets=6, worlds=2, warmup=2, samples=2))
    assert made.settings["cells"] == 40
