"""What a run takes is told before it, and one that does not fit is refused with what would."""

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.experiments.commands import plan_lines
from pyrogrn.experiments.commands.plan_lines import duration, size
from pyrogrn.experiments.commands.targets import most_variable
from pyrogrn.inference import Blocked, Gibbs, MeanField, SparseGibbs, fit, plan
from pyrogrn.inference.draws.moments import Collector
from pyrogrn.inference.engines import base
from pyrogrn.inference.engines import plan as engine_plans
from pyrogrn.inference.engines import sparse_gibbs as sparse_engine
from pyrogrn.inference.recalibration.cells import trial_bytes
from pyrogrn.inference.runs import callbacks
from pyrogrn.inference.runs.callbacks import FitState, Progress
from pyrogrn.models import LinearNetwork, MuVI
from pyrogrn.models.data.decomposed import decomposed
from pyrogrn.models.narrowed import narrowed
from pyrogrn.models.simulators import simulate_linear, simulate_muvi
from pyrogrn.priors import PriorNetwork, SpikeSlab

GIBBS = Gibbs(num_chains=2, num_warmup=20, num_samples=30, thin=2)


@pytest.fixture(scope="module")
def data():
    return simulate_linear(num_genes=8, num_tfs=3, num_cells=60, seed=1).data


@pytest.fixture(scope="module")
def cells(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    with (folder / "cells.csv").open("w") as handle:
        handle.write("," + ",".join(data.genes) + "\n")
        handle.writelines(f"c{i}," + ",".join(map(str, row)) + "\n" for i, row in enumerate(data.X.tolist()))
    (folder / "tfs.csv").write_text("\n".join(data.tfs) + "\n")
    return folder


# -- of an engine ----


@pytest.mark.parametrize("guide", [GIBBS, MeanField()], ids=["gibbs", "mean-field"])
def test_steps_time_and_memory_of_a_network(data, guide):
    model = LinearNetwork.from_data(data, edge_prior=SpikeSlab())
    before = torch.get_rng_state()
    found = plan(model, guide=guide, num_steps=500)
    assert torch.equal(before, torch.get_rng_state())
    assert found.num_steps == (80 if guide is GIBBS else 500)
    assert found.seconds > 0
    assert found.total == found.num_steps * found.seconds
    assert found.num_bytes > 0


def test_of_programs():
    model = MuVI.from_data(
        simulate_muvi(num_genes=12, num_cells=30, num_sets=2, set_size=4, seed=1).data, num_factors=2
    )
    found = plan(model, guide=Blocked(), num_steps=50)
    assert found.seconds > 0
    assert found.total == 50 * found.seconds + found.draws
    assert found.draws > 0
    assert plan(model, guide=Blocked(refresh=0), num_steps=50).draws == 0, "each is less than a step"
    assert plan(model, guide=Gibbs(2, 5, 5)).num_steps == 10


def test_draws_of_programs_are_told_from_as_many_rounds_as_a_fit_takes(monkeypatch):
    from pyrogrn.inference.factors import walk

    model = MuVI.from_data(
        simulate_muvi(num_genes=12, num_cells=30, num_sets=2, set_size=4, seed=1).data, num_factors=2
    )
    taken, seconds = [], itertools.count(0, 0.5)
    monkeypatch.setattr(walk.time, "perf_counter", lambda: next(seconds))
    assert plan(model, guide=Blocked(refresh=7), num_draws=250).draws == pytest.approx(9 * 0.5 / walk.TIMED)
    step = walk.walk

    def counted(*given):
        for drawn in step(*given):
            taken.append(1)
            yield drawn

    monkeypatch.setattr(walk, "walk", counted)
    fit(model, guide=Blocked(refresh=7), num_draws=250, restarts=1, num_steps=5)
    assert len(taken) == 9, "six before the first, and three of a hundred walkers"


def test_nothing_is_computed_without_timing(data, monkeypatch):
    monkeypatch.setattr(Gibbs, "run", lambda *_: pytest.fail("it ran"))
    found = plan(LinearNetwork.from_data(data), guide=GIBBS, timed=False)
    assert (found.num_steps, math.isnan(found.seconds)) == (0, True)


def test_a_fit_after_its_plan_draws_the_same(data):
    model = LinearNetwork.from_data(data)
    first = fit(model, guide=GIBBS, seed=2)
    plan(model, guide=GIBBS, seed=2)
    second = fit(model, guide=GIBBS, seed=2)
    assert (first.draws["W"] == second.draws["W"]).all()


def test_a_slow_fit_is_timed_by_two_steps(monkeypatch):
    clock = engine_plans._Clock(engine_plans.FEWEST)
    seconds = itertools.count(0, 10)
    monkeypatch.setattr(engine_plans.time, "perf_counter", lambda: float(next(seconds)))
    clock(FitState(1, 700, "", dict))
    with pytest.raises(engine_plans._Enough):
        clock(FitState(2, 700, "", dict))
    assert (clock.seconds, clock.total) == (10, 700)


def test_a_quick_sampler_is_timed_by_four_steps(data, monkeypatch):
    seconds = itertools.count(0, 0.2)  # of steps that take longer than it takes to know
    monkeypatch.setattr(engine_plans.time, "perf_counter", lambda: float(next(seconds)))
    told = []
    monkeypatch.setattr(engine_plans._Clock, "seconds", property(lambda clock: told.append(len(clock.times)) or 1.0))
    plan(LinearNetwork.from_data(data), guide=GIBBS)
    assert told == [engine_plans.QUICK]


def test_memory_of_the_draws_is_what_they_take(data):
    model = LinearNetwork.from_data(data)
    collector = Collector(model, GIBBS.num_chains, GIBBS.num_samples, has_inclusion=True)
    posterior = fit(model, guide=GIBBS)
    draws = [value.nbytes for value in posterior.draws.values()]
    inclusion = posterior.attributes["chain_inclusion"].nbytes
    sums = 5 * 8 * model.edge_prior.allowed.numel()
    assert collector.num_bytes == sum(draws) + max(draws) + inclusion + sums


def test_memory_grows_with_targets_and_chains(data):
    few, all_genes = (LinearNetwork.from_data(data, targets=t) for t in (data.genes[:4], data.genes))
    need = lambda model, chains: plan(model, guide=Gibbs(chains, 1, 400), timed=False).num_bytes
    assert need(all_genes, 4) > need(few, 4) > need(few, 2)


@pytest.fixture(scope="module")
def many():
    data = simulate_linear(num_genes=60, num_tfs=60, num_cells=40, seed=2).data
    return LinearNetwork.from_data(data)


def test_of_many_edges_a_part_of_the_targets_is_timed(many, monkeypatch):
    swept = []
    kernel = SparseGibbs.kernel
    monkeypatch.setattr(
        SparseGibbs, "kernel", lambda self, model, **more: swept.append((self, model)) or kernel(self, model, **more)
    )
    monkeypatch.setattr(sparse_engine, "MANY_EDGES", 1000)
    monkeypatch.setattr(sparse_engine, "PARTS", (4, 12))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = plan(many, guide=SparseGibbs())
    finally:
        torch.set_num_threads(threads)
    assert [(len(model.targets), engine.num_chains) for engine, model in swept] == [(4, 1), (12, 1)]
    assert (found.num_steps, found.seconds > 0) == (140, True)
    assert found.num_bytes == plan(many, guide=SparseGibbs(), timed=False).num_bytes


def test_time_grows_with_the_targets_and_what_they_share_does_not(many, monkeypatch):
    monkeypatch.setattr(sparse_engine, "MANY_EDGES", 1000)
    monkeypatch.setattr(sparse_engine, "PARTS", (4, 12))
    monkeypatch.setattr(
        SparseGibbs, "parts_to_time", lambda self, model: [base.PartToTime(self, model, size, 4.0) for size in (4, 12)]
    )
    clocks = iter([7.0, 11.0])  # 5 shared, half for each target
    monkeypatch.setattr(engine_plans, "_timed", lambda *_: SimpleNamespace(total=140, seconds=next(clocks)))
    assert plan(many, guide=SparseGibbs()).seconds == pytest.approx(4 * (5 + 0.5 * 60))
    noisy = iter([12.0, 11.0])  # the smaller took longer: still no less for more targets
    monkeypatch.setattr(engine_plans, "_timed", lambda *_: SimpleNamespace(total=140, seconds=next(noisy)))
    assert plan(many, guide=SparseGibbs()).seconds >= 4 * 11 * 60 / 12 / 2


def test_some_targets_of_a_model_are_those_of_a_model_of_them():
    data = simulate_linear(num_genes=12, num_tfs=5, num_cells=80, num_perturbed=3, seed=3).data
    network = PriorNetwork.from_edges(
        pd.DataFrame({"source": data.tfs[0], "target": data.genes[1:], "probability": 0.5}), name="known"
    )
    whole = LinearNetwork.from_data(data, networks={"known": network})
    keep = [0, 3, 4, 9]
    part = narrowed(whole, keep)
    wanted = LinearNetwork.from_data(data, networks={"known": network}, targets=[whole.targets[i] for i in keep])
    assert (part.targets, part.coords, len(whole.targets)) == (wanted.targets, wanted.coords, 12)
    ours, theirs = (dict(model.named_buffers()) for model in (part, wanted))
    assert len(wanted.perturbed) > 0
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, msg=name)


@pytest.mark.parametrize("cells", [30, 400])
def test_a_matrix_of_few_cells_is_decomposed_as_any_other(cells, monkeypatch):
    rng = np.random.default_rng(0)
    levels = rng.standard_normal((cells, 600)).astype(np.float32)
    gram = levels.T @ levels
    whole = np.linalg.eigh(gram.astype(np.float64))[0].clip(0)
    values, vectors = decomposed(gram)
    assert (np.count_nonzero(values == 0) == 600 - cells) == (cells == 30)
    assert np.abs(values - whole).max() < 1e-5 * whole.max()
    assert np.abs((vectors * values) @ vectors.T - gram).max() < 1e-5 * whole.max()
    assert np.abs(vectors.T @ vectors - np.eye(600)).max() < 1e-10


# -- of a command ----


def test_the_command_says_what_infer_would_take_and_writes_nothing(cells, tmp_path):
    code, out, err = call("plan", cells / "cells.csv", "--tfs", cells / "tfs.csv", "--out", tmp_path / "run")
    assert (code, out) == (0, "")
    assert "60 cells, 8 genes, 3 candidate regulators" in err
    assert "guide sparse: 140 sweeps of " in err
    assert "at its peak" in err
    assert "edges.csv (21 edges), links.csv, posterior.nc" in err
    assert not (tmp_path / "run").exists()


def test_infer_begins_with_it(cells, tmp_path):
    code, _, err = call("infer", cells / "cells.csv", "--tfs", cells / "tfs.csv", "--steps", 5, "--out", tmp_path / "a")
    lines = err.splitlines()
    assert code == 0, err
    place = next(i for i, line in enumerate(lines) if line.startswith("memory: about"))  # a quick job is not timed
    assert lines[place + 1].startswith(f"writes {tmp_path / 'a'}: edges.csv (21 edges)")


def test_the_page_beside_the_table_counts_with_it():
    model = LinearNetwork.from_data(simulate_linear(num_genes=8, num_tfs=3, num_cells=60, seed=1).data)
    page = plan_lines.REPORT_BYTES + 20 * plan_lines.DENSITY_BYTES
    table = 20 * (plan_lines.TABLE_BYTES + plan_lines.CHOICE_BYTES)
    alone, beside = (
        plan_lines.RunPlan(model, GIBBS, plan(model, guide=GIBBS, timed=False), 20, apart=apart)
        for apart in (False, True)
    )
    assert alone.num_bytes == alone.fit.num_bytes + page
    assert beside.num_bytes == alone.num_bytes + table


@pytest.fixture
def little_memory(monkeypatch):
    """Room for half of what the run takes."""
    monkeypatch.setattr(plan_lines.RunPlan, "num_bytes", property(lambda self: 2.4e9))
    monkeypatch.setattr(plan_lines, "available", lambda: int(1.2e9))


@pytest.mark.usefixtures("little_memory")
def test_what_does_not_fit_is_refused_with_the_genes_that_would(cells, data, tmp_path):
    options = (cells / "cells.csv", "--tfs", cells / "tfs.csv")
    code, out, err = call("infer", *options, "--out", tmp_path / "run")
    assert code == 2
    assert "does not fit: it needs about 2." in err.splitlines()[-1]
    assert "--targets 3 would, the most variable of 8 genes" in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
    code, out, err = call("plan", *options)
    assert code == 2
    assert out.split() == most_variable(data)[:3]


@pytest.mark.usefixtures("little_memory")
def test_programs_have_no_targets_to_leave_out(cells):
    code, out, err = call("plan", cells / "cells.csv", "--method", "ppca", "--factors", 2)
    assert (code, out) == (2, "")
    assert "use fewer genes, or --restarts 1" in err.splitlines()[-1]


def test_celloracle_has_no_plan(cells):
    (cells / "prior.csv").write_text("source,target\nG0000,G0003\n")
    code, _, err = call("plan", cells / "cells.csv", "--method", "celloracle", "--prior", f"p={cells / 'prior.csv'}")
    assert code == 2
    assert "it has no plan" in err.splitlines()[-1]


def test_sizes_and_times_in_words():
    assert [size(n) for n in (8e5, 8.2e6, 5e8, 4.56e10)] == ["1 MB", "9 MB", "0.5 GB", "45.6 GB"]
    assert [duration(s) for s in (0.0123, 3.4, 200.0, 9000.0)] == ["0.012 s", "3 s", "3 min", "2.5 h"]


# -- targets ----


def test_targets_by_number_and_by_name(cells, data, tmp_path):
    options = ("--tfs", cells / "tfs.csv", "--steps", 5)
    code, _, err = call("infer", cells / "cells.csv", *options, "--targets", 4, "--out", tmp_path / "number")
    assert code == 0, err
    assert "4 of 8 genes are targets" in err
    wanted = set(most_variable(data)[:4])
    targets = {line.split(",")[1] for line in (tmp_path / "number" / "edges.csv").read_text().splitlines()[1:]}
    assert targets == wanted
    (tmp_path / "names.txt").write_text("\n".join(["gene", *sorted(wanted), "unknown"]) + "\n")
    code, _, err = call(
        "infer", cells / "cells.csv", *options, "--targets", tmp_path / "names.txt", "--out", tmp_path / "names"
    )
    assert code == 0, err
    assert (tmp_path / "names" / "edges.csv").read_text() == (tmp_path / "number" / "edges.csv").read_text()


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("0", "--targets 0: expected a file of names, or a number from 1 to 8"),
        ("9", "a number from 1 to 8"),
        ("-3", "a number from 1 to 8"),
        ("none.txt", "none of its 1 names is a gene of the data"),
        ("empty.txt", "empty.txt"),
        ("absent.txt", "absent.txt: no such file"),
    ],
)
def test_targets_that_are_none(cells, tmp_path, targets, words):
    (tmp_path / "none.txt").write_text("elsewhere\n")
    (tmp_path / "empty.txt").write_text("")
    given = tmp_path / targets if targets.endswith("txt") else targets
    code, _, err = call("infer", cells / "cells.csv", "--targets", given, "--out", tmp_path / "run")
    assert code == 2
    assert words in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["muvi", "glad-tf", "cellbox"])
def test_targets_of_methods_that_explain_all_genes(cells, tmp_path, method):
    more = ("--inputs", cells / "cells.csv") if method == "cellbox" else ()
    code, _, err = call(
        "infer", cells / "cells.csv", "--method", method, "--targets", 3, *more, "--out", tmp_path / "run"
    )
    assert code == 2
    assert f"--targets does not go with --method {method}" in err.splitlines()[-1]


@pytest.mark.parametrize("number", [1, 8])
def test_one_regulator_and_every_gene_as_one(cells, data, tmp_path, number):
    (tmp_path / "some.csv").write_text("\n".join(data.genes[:number]) + "\n")
    code, _, err = call(
        "infer", cells / "cells.csv", "--tfs", tmp_path / "some.csv", "--steps", 5, "--out", tmp_path / "run"
    )
    assert code == 0, err
    assert f"edges.csv ({number * 7} edges)" in err


def test_the_most_variable_of_counts_is_the_most_dispersed():
    linear = simulate_linear(num_genes=5, num_tfs=2, num_cells=40, seed=1).data
    X = torch.full((40, 5), 2.0)
    X[::2, 1], X[::2, 3] = 6.0, 100.0
    X[:, 0] += torch.arange(40) % 2  # a little
    X[:, 4] = 50 + torch.arange(40) % 9  # more variance, and less than its mean
    counts = linear.__class__(X, linear.genes, linear.tfs)
    assert most_variable(counts)[:2] == [linear.genes[3], linear.genes[1]]
    with_fractions = linear.__class__(X + 0.5, linear.genes, linear.tfs)
    assert most_variable(with_fractions)[:2] == [linear.genes[3], linear.genes[4]]


# -- on the way ----


def test_a_line_every_tenth_where_there_is_no_terminal(monkeypatch, capsys):
    now = itertools.count(0, 1)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: float(next(now)))
    progress = Progress(lines=True)
    for step in range(1, 101):
        progress(FitState(step, 100, "", dict))
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("10 of 100 (10%), ")
    assert lines[-1] == "90 of 100 (90%), 10 s left", "at the end there is nothing to wait for"


def test_no_line_of_what_is_soon_over_or_not_asked_for(monkeypatch, capsys):
    for progress in (Progress(lines=True), Progress()):
        for step in range(1, 101):
            progress(FitState(step, 100, "", dict))
        progress.close()
    assert capsys.readouterr().err == ""


def test_a_trial_that_does_not_fit_is_refused_with_what_would(cells, tmp_path, monkeypatch):
    """It grows with cells and regulators: fewer targets would not help."""
    options = ("infer", cells / "cells.csv", "--tfs", cells / "tfs.csv", "--out", tmp_path / "run", "--steps", 5)
    monkeypatch.setattr(plan_lines, "trial_memory", lambda *_: 6e9)
    monkeypatch.setattr(plan_lines, "available", lambda: int(5e9))
    code, _, err = call(*options)
    assert code == 2
    assert "it needs about 6.0 GB of memory beside the data" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("--no-calibrate, which leaves out the trial")
    assert not list(tmp_path.iterdir())


def test_memory_of_a_trial_grows_with_cells_and_regulators():
    few, more_cells, more_tfs = (
        trial_bytes(simulate_linear(num_genes=12, num_tfs=t, num_cells=n, seed=0).data)
        for t, n in ((4, 50), (4, 100), (8, 50))
    )
    assert more_cells == 2 * few
    assert few < more_tfs < 2 * few


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak")
def test_what_is_said_of_memory_is_about_what_a_run_takes(tmp_path):
    """Beside what imports take, of which both have as much: from above, and by no more than two and a half times."""
    rng = np.random.default_rng(0)
    genes, tfs, cells = 800, 200, 40
    names = [f"g{i}" for i in range(genes)]
    table = pd.DataFrame(rng.normal(size=(cells, genes)).astype(np.float32), columns=names)
    table.to_csv(tmp_path / "cells.csv", index_label="cell")
    (tmp_path / "tfs.csv").write_text("\n".join(names[:tfs]) + "\n")
    options = ["infer", "cells.csv", "--tfs", "tfs.csv", "--steps", "10", "--restarts", "2"]
    options += [f"--set=guide.{name}=1" for name in ("num_warmup", "longest", "sweeps")]
    options += ["--no-calibrate", "--out", "run"]
    done = subprocess.run([sys.executable, "-c", PEAK, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, imports = (1024 * int(kb) for kb in done.stdout.split()[-2:])
    said = float(re.search(r"memory: about ([\d.]+) GB", done.stderr)[1]) * 1e9
    assert 1.0 < (said - imports) / (peak - imports) < 2.5, (said, peak, imports)


PEAK = """
import sys
from pathlib import Path
import torch, pyrogrn.inference, anndata, matplotlib.pyplot
import pyrogrn.experiments.commands.infer_run
held = lambda: next(l.split()[1] for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
before = held()
from pyrogrn.experiments.cli import main
main()
print(held(), before)
"""


def test_large_fits_are_timed_but_guides_of_programs_which_are_arranged_first(data, monkeypatch):
    network = LinearNetwork.from_data(data)
    programs = MuVI.from_data(
        simulate_muvi(num_genes=12, num_cells=30, num_sets=2, set_size=4, seed=1).data, num_factors=2
    )
    assert not plan_lines.is_quick_to_time(network, MeanField())
    monkeypatch.setattr(plan_lines, "TIMED_FROM", 1)
    assert plan_lines.is_quick_to_time(network, MeanField())
    assert not plan_lines.is_quick_to_time(programs, Blocked())
    assert plan_lines.is_quick_to_time(programs, GIBBS)
