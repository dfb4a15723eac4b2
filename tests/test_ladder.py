"""The ladder: what it says of probabilities that are right, and of those that are not; the command and its refusals."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pyrogrn
import pytest
from command_line import call
from pyrogrn.experiments.benchmarks import ladder as section
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.experiments.fitting import METHODS
from pyrogrn.experiments.ladder import Calibration, UserPath, calibrate
from pyrogrn.experiments.ladder.enumeration import enumerated, exact_inclusion
from pyrogrn.experiments.ladder.page import write_page
from pyrogrn.experiments.ladder.path import REFUSED, TRIED
from pyrogrn.experiments.ladder.plan import CORRECTED, OWN, Plan, plans
from pyrogrn.experiments.ladder.result import Trial
from pyrogrn.experiments.ladder.scoring import Pairs, joined, longest_list, pairs_of, pooled, score
from pyrogrn.inference import Gibbs
from pyrogrn.inference.recalibration import TrialOptions
from pyrogrn.models.simulators import WorldKind, donors_of, semi_synthetic, simulate_linear
from pyrogrn.priors import PriorNetwork, SpikeSlab

QUICK = Gibbs(num_chains=2, num_warmup=60, num_samples=100)
HELD = SpikeSlab(edge_probability=0.2, slab_scale=0.3, spike_ratio=0.02)  # constants held: a fit is then very quick


def quick(engine=QUICK, edge_prior=HELD):
    return UserPath("linear", edge_prior, make_engine=lambda model: engine)


@pytest.fixture(scope="module")
def real():
    return simulate_linear(num_genes=30, num_tfs=8, num_cells=250, edge_probability=0.4, tf_correlation=0.3, seed=3)


# -- scores ----


def some_pairs(probability, true):
    return Pairs.stated(np.asarray(probability), np.asarray(true), np.full(len(true), "linear", dtype=object))


def test_scores_of_a_list_by_hand():
    pairs = some_pairs([0.99, 0.95, 0.9, 0.5, 0.05], np.array([True, True, False, True, False]))
    values = score(pairs)
    assert values["listed_0.05"] == 2  # expected (.01 + .05 + .1) / 3 = .053 is too much
    assert values["listed_0.1"] == 3
    assert values["wrong_0.05"] == 0
    assert values["wrong_0.1"] == pytest.approx(1 / 3)
    assert values["power_0.1"] == pytest.approx(2 / 3)
    assert values["base_rate"] == pytest.approx(0.6)
    assert values["bits"] == pytest.approx(-np.log2([0.99, 0.95, 0.1, 0.5, 0.95]).mean())
    assert values["bits_of_base_rate"] == pytest.approx(-(0.6 * np.log2(0.6) + 0.4 * np.log2(0.4)))
    nothing = score(some_pairs([0.1, 0.2], np.array([True, False])))
    assert nothing["listed_0.2"] == 0
    assert np.isnan(nothing["wrong_0.2"])
    assert nothing["power_0.2"] == 0


def test_longest_list_takes_ties_together_and_may_pass_through_worse_ones():
    true = np.array([True, False, True, True, True, True, True, True, True, True, True, False])
    ranking = np.arange(12.0)[::-1]
    assert longest_list(ranking, true, 0.1).tolist() == list(range(11))  # the second is wrong: 1 of 11
    tied = np.where(np.arange(12) >= 8, 3.0, ranking)
    assert longest_list(tied, true, 0.1).tolist() == [0]  # 1 of 8 above the tie, 2 of 12 with it
    assert len(longest_list(np.zeros(4), np.array([True, False, False, True]), 0.1)) == 0


def test_pooled_scores_and_their_jackknife_error():
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(4):
        probability = rng.random(500)
        parts.append(some_pairs(probability, rng.random(500) < probability))
    values = pooled(parts)
    assert values["pairs"] == (500, 0)
    assert values["ece"][0] == pytest.approx(score(joined(parts))["ece"])
    assert values["listed_0.1"][0] == pytest.approx(np.mean([part.listed[1].sum() for part in parts]))
    out = np.array([score(joined(parts[:i] + parts[i + 1 :]))["bits"] for i in range(4)])
    assert values["bits"][1] == pytest.approx(np.sqrt(3 / 4 * np.square(out - out.mean()).sum()))
    assert np.isnan(pooled(parts[:1])["bits"][1])


def test_pairs_are_of_offered_regulators_and_made_targets_alone(real):
    world = semi_synthetic(real.data, donors_of(real.data, 20), WorldKind(hidden=0.5), num_targets=10, seed=0)
    tfs = world.data.tfs
    edges = pd.DataFrame(
        {
            "source": [tfs[0], tfs[1], tfs[0], "G0007"],
            "target": [world.targets[0], world.targets[3], tfs[1], world.targets[1]],
            "inclusion": [0.9, 0.8, 1.0, 1.0],
        }
    )
    if "G0007" in tfs:
        edges = edges[:3]
    pairs = pairs_of(edges, world)
    assert len(pairs.true) == 4 * 10
    assert sorted(pairs.probability)[-3:] == [0.0, 0.8, 0.9]
    assert pairs.true.sum() == world.present.sum()
    assert set(pairs.response) == {"linear", "saturating", "step"}
    assert sum(len(pairs.of(kind).true) for kind in set(pairs.response)) == 40


def test_the_exact_posterior_of_one_regulator_is_that_of_the_tests(real, exact):
    X = real.data.X.double().numpy()[:60, :1]
    X = (X - X.mean()) / X.std()
    y = 0.25 * X[:, 0] + np.random.default_rng(0).normal(size=60)
    y = (y - y.mean()) / y.std()
    from pyrogrn.experiments.ladder import enumeration as rung

    zero = np.zeros(1)
    slab, spike = (exact(X, y, zero, np.array([rung.SLAB**2 * ratio]))[0] for ratio in (1.0, rung.SPIKE_RATIO**2))
    odds = np.log(rung.EDGE_PROBABILITY / (1 - rung.EDGE_PROBABILITY)) + slab - spike
    assert exact_inclusion(X, y)[0] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-4)


def test_the_sampler_has_the_exact_posterior_of_five_regulators(real):
    path = quick(engine=Gibbs(num_chains=4, num_warmup=100, num_samples=400))
    found, true = enumerated(real.data, donors_of(real.data, 20), path, seed=0)
    assert found.shape == true.shape == (5, 20)
    assert 0.05 < true.mean() < 0.95
    assert np.abs(found - true).max() < 0.06
    assert np.abs(found - true).mean() < 0.008


# -- is it right? ----


@pytest.fixture(scope="module")
def few():
    """Six regulators that are told apart, 300 cells."""
    return simulate_linear(
        num_genes=40, num_tfs=6, num_cells=300, tf_correlation=0.3, edge_probability=0.4, seed=1
    ).data


@pytest.fixture(scope="module")
def climbed(few):
    return calibrate(few, rungs=[1, 3, 4], targets=30, worlds=2, seed=0, path=quick())


def test_on_data_from_the_model_probabilities_are_found_true(few):
    found = calibrate(few, rungs=[1], targets=80, worlds=3, seed=0, path=quick())
    values = pooled(found.of(found.plans()[0]))
    assert values["ece"][0] < 0.04
    assert values["bits"][0] < 0.6 * values["bits_of_base_rate"][0]
    assert values["wrong_0.1"][0] < 0.2
    assert values["power_0.1"][0] > 0.6


@pytest.mark.parametrize("kind", [{"hidden": 0.5}, {"responses": ("step",), "hidden": 0.5, "noise": "residual"}])
def test_a_model_that_is_wrong_is_found_out(kind):
    """Regulators that follow one another: those that are left stand in for those that are hidden."""
    data = simulate_linear(
        num_genes=40, num_tfs=8, num_cells=600, tf_correlation=0.6, edge_probability=0.4, seed=1
    ).data
    donors, path, found = donors_of(data, 50), quick(), {}
    for name, world in {
        "right": semi_synthetic(data, donors, WorldKind(responses=("linear",)), num_targets=60, seed=0),
        "wrong": semi_synthetic(data, donors, WorldKind(**kind), num_targets=60, seed=0),
    }.items():
        model = path.model(world.data)
        found[name] = score(pairs_of(path.fit(model, world.data, seed=0).edges(), world))
    assert found["wrong"]["ece"] > max(0.15, 2 * found["right"]["ece"])
    assert found["wrong"]["wrong_0.1"] > max(0.3, 1.5 * found["right"]["wrong_0.1"])


def test_the_fit_of_its_own_model_is_judged_before_the_trial_of_infer_corrects_it(few, tmp_path):
    """A trial learns on targets of another kind: what it makes of these probabilities stands beside them."""
    path = UserPath("linear", trial=TrialOptions(targets=10, worlds=2, samples=8))
    found = calibrate(few, rungs=[1, 3], targets=20, worlds=1, path=path)
    alone = calibrate(few, rungs=[1], targets=20, worlds=1, path=UserPath("linear", trial=None))
    own, corrected, _ = found.plans()
    assert [own.name, corrected.name] == [OWN, CORRECTED]
    np.testing.assert_allclose(found.of(own)[0].probability, alone.of(own)[0].probability)
    assert np.abs(found.of(corrected)[0].probability - alone.of(own)[0].probability).max() > 0.01
    assert [plan.name for plan in alone.plans()] == [OWN]
    timed = found.rows.query("score == 'seconds'")["world"].tolist()
    assert timed.count(OWN) == 1
    assert CORRECTED not in timed  # the same fit
    write_page(found, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert f"{found.value(corrected, 'base_rate'):.0%} of the pairs are edges" in text
    assert f"expect {found.value(corrected, 'mean_inclusion'):.0%}" in text


def test_a_page_whose_probabilities_are_far_off_has_no_green_badge(tmp_path):
    """Half of the pairs are edges, a fifth is stated, and of what is listed nothing is wrong."""
    true = np.arange(400) < 200
    timid = some_pairs(np.where(true, np.where(np.arange(400) < 40, 0.95, 0.1), 0.05), true)
    right = some_pairs(np.where(true, 0.99, 0.01), true)
    kind = Plan("all causes offered, gaussian noise", 3, WorldKind(responses=("linear",)))
    for pairs, badge in ((right, "badge good"), (timid, "badge none")):
        found = Calibration("linear", (Trial(kind, 0, 0, right, 1.0), Trial(Plan(CORRECTED, 1), 0, 0, pairs, 1.0)))
        assert found.kept
        write_page(found, tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text()
        assert f'{badge}">lists keep their promise on made targets' in text
        assert ("probabilities are far off in own model, corrected (calibration error 0." in text) == (pairs is timid)
        cause = "draws another number of edges than the trial of infer learns on"
        assert (cause in text) == (pairs is timid)


# -- what it returns ----


def test_rows_are_tidy_and_the_same_for_a_seed(climbed, real):
    rows = climbed.rows
    assert list(rows.columns) == [
        *("world", "rung", "hidden", "noise", "moved", "response", "replicate", "seed", "score", "value"),
    ]
    assert set(rows["rung"]) == {1, 3, 4}
    assert not rows.duplicated(["world", "response", "replicate", "score"]).any()
    one, two = (calibrate(real.data, rungs=[3], targets=9, worlds=1, seed=4, path=quick()).rows for _ in range(2))
    kept = [frame[frame["score"] != "seconds"].reset_index(drop=True) for frame in (one, two)]
    pd.testing.assert_frame_equal(*kept)
    assert set(one["seed"]) == {4}
    assert pyrogrn.calibrate is calibrate


def test_priors_are_damaged_as_asked(real):
    source = PriorNetwork.from_edges(real.network[["source", "target", "sign"]], name="motif")
    found = calibrate(real.data, {"motif": source}, rungs=[3], moved=[0, 1], targets=60, worlds=1, path=quick())
    assert [plan.moved for plan in found.plans()] == [0, 1]
    good, bad = (found.value(plan, "auprc") for plan in found.plans())
    assert good > bad
    assert "100% of the prior moved" in found.plans()[1].name


def test_amortised_guides_are_tried_on_targets_as_measured(real):
    found = calibrate(real.data, method="glad-tf", rungs=[1, 2, 3], targets=12, worlds=1)
    assert {plan.rung for plan in found.plans()} == {3}
    assert all(plan.kind.as_measured for plan in found.plans())
    assert "family of simulations" in found.notes[0]
    with pytest.raises(ValueError, match="none of these rungs is for it"):
        calibrate(real.data, method="glad-tf", rungs=[2])


def test_zeros_of_the_regulators_are_said(real):
    zeros = replace(real.data, matrix=(real.data.X - 4.5).clamp_min(0))
    found = calibrate(zeros, rungs=[3], targets=9, worlds=1, path=quick())
    assert re.match(r"\d\d% of the regulators' values are zero", found.notes[0])
    assert not calibrate(real.data, rungs=[3], targets=9, worlds=1, path=quick()).notes


def test_worlds_of_each_rung():
    every = plans([1, 2, 3, 4], hidden=0.5, moved=[], priors=False, as_measured=False)
    assert [plan.rung for plan in every] == [1, 2, 3, 4, 4, 4]
    assert len({plan.name for plan in every}) == 6
    assert [p.moved for p in plans([3], hidden=0.5, moved=[0.2, 0.8], priors=True, as_measured=False)] == [0.2, 0.8]
    for wrong in ([], [5]):
        with pytest.raises(ValueError, match="choose of 1, 2, 3, 4"):
            plans(wrong, hidden=0.5, moved=[], priors=False, as_measured=False)


def test_the_answer_in_words():
    rng = np.random.default_rng(0)
    true = rng.random(400) < 0.3
    sure = some_pairs(np.where(true, 0.999, 0.001), true)
    wrong = some_pairs(np.where(rng.random(400) < 0.3, 0.999, 0.001), true)
    easy, hard = plans([3, 4], hidden=0.5, moved=[], priors=False, as_measured=False)[::3]
    result = Calibration("linear", (Trial(easy, 0, 0, sure, 1.0), Trial(hard, 0, 0, wrong, 1.0)))
    assert result.kept is False
    words = result.headline()
    # of the pairs below, as many are added as 10% allow
    assert re.search(r"about (9|10) would be wrong when every cause is among your regulators", words)
    assert re.search(r"about [67]\d would be wrong when half of the causes are not measured", words)
    assert Calibration("linear", (Trial(easy, 0, 0, sure, 1.0),)).kept is True
    empty = Calibration("linear", (Trial(easy, 0, 0, some_pairs(np.full(400, 0.1), true), 1.0),))
    assert empty.kept is None
    assert "no edge is listed" in empty.headline()


def test_the_answer_tells_the_worst_world_and_which_it_is():
    rng = np.random.default_rng(0)
    true = rng.random(400) < 0.3
    sure = some_pairs(np.where(true, 0.999, 0.001), true)
    wrong = some_pairs(np.where(rng.random(400) < 0.3, 0.999, 0.001), true)
    worlds = plans([3, 4], hidden=0.5, moved=[], priors=False, as_measured=False)
    pairs = (sure, sure, wrong, sure)  # worst with half hidden and Gaussian noise, which is not the last
    result = Calibration("linear", tuple(Trial(p, 0, 0, one, 1.0) for p, one in zip(worlds, pairs, strict=True)))
    words = result.headline()
    assert re.search(
        r"in the worst of the 3 harder worlds about [67]\d would be wrong when half of the causes are not measured and "
        r"noise is Gaussian\.",
        words,
    )
    silent = some_pairs(np.full(400, 0.1), true)  # lists nothing, in the last
    pairs = (sure, wrong, sure, silent)
    result = Calibration("linear", tuple(Trial(p, 0, 0, one, 1.0) for p, one in zip(worlds, pairs, strict=True)))
    assert re.search(r"[67]\d would be wrong when every cause .* and genes vary as yours do\.", result.headline())


# -- refusals ----


def test_every_method_is_tried_or_refused_with_a_reason(real):
    assert {*TRIED, *REFUSED} == set(METHODS)
    for method, reason in REFUSED.items():
        with pytest.raises(ValueError, match="cannot be tried") as error:
            calibrate(real.data, method=method)
        assert reason in str(error.value)
    with pytest.raises(ValueError, match="unknown method 'magic'"):
        calibrate(real.data, method="magic")


def test_numbers_out_of_range(real):
    for wrong in ({"targets": 0}, {"worlds": 0}, {"moved": [2.0]}):
        with pytest.raises(ValueError, match="expected"):
            calibrate(real.data, **wrong)


# -- the command ----
FILES = {
    *("rows.csv", "summary.csv", "reliability.csv", "report.html", "config.json"),
    *("figure_reliability.svg", "figure_false_discoveries.svg"),
}
SHORT = ("--targets", 12, "--worlds", 2, "--steps", 15, "--restarts", 2, "--set", "guide.num_warmup=15")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    small = ("--genes", 20, "--tfs", 6, "--cells", 80)
    code, _, err = call("simulate", "linear", *small, "--seed", 1, "--out", folder / "data")
    assert code == 0, err
    return folder / "data"


def test_the_command_end_to_end(cells, tmp_path):
    out = tmp_path / "out"
    words = (
        *(
            "calibrate",
            cells / "expression.h5ad",
            "--tfs",
            cells / "tfs.csv",
            "--prior",
            f"motif={cells / 'prior.csv'}",
        ),
        *("--perturbation-key", "perturbation", "--moved", "0.2", *SHORT, "--out", out),
    )
    code, _, err = call(*words)
    assert code == 0, err
    assert {path.name for path in out.iterdir()} == FILES
    told = [line for line in err.splitlines() if line.startswith("On cells like yours")]
    assert len(told) == 1
    rows, summary = pd.read_csv(out / "rows.csv"), pd.read_csv(out / "summary.csv")
    assert set(rows["rung"]) == {1, 2, 3, 4}
    assert set(rows["seed"]) == {0, 1}
    assert set(rows.loc[rows["rung"] > 2, "moved"]) == {0.2}
    assert set(summary["score"]) >= {"ece", "bits", "auprc", "listed_0.1", "wrong_0.05", "power_0.2"}
    assert told[0].split("lists")[0] in (out / "report.html").read_text()
    for picture in out.glob("*.svg"):
        ET.parse(picture)
    config = json.loads((out / "config.json").read_text())
    assert config["calibration"]["targets"] == 12
    assert config["command"].startswith("pyrogrn calibrate")
    code, _, err = call(*words)
    assert code == 2
    assert "is not empty" in err.splitlines()[-1]
    code, _, err = call(*words, "--overwrite", "--rungs", "2")
    assert code == 0, err
    assert set(pd.read_csv(out / "rows.csv")["rung"]) == {2}


def test_every_gene_a_candidate(cells, tmp_path):
    code, _, err = call(
        *("calibrate", cells / "expression.h5ad", "--rungs", 3, *SHORT, "--worlds", 1, "--out", tmp_path / "out")
    )
    assert code == 0, err
    assert "4 of 20 genes were taken for plain ones" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "muvi"], "method muvi cannot be tried on made targets: it infers gene programs"),
        (["--method", "factorbox"], "nobody has knocked down made targets"),
        (["--method", "nothing"], "unknown method 'nothing'"),
        (["--rungs", "7"], "choose of 1, 2, 3, 4"),
        (["--rungs", "x"], "--rungs x: expected whole numbers"),
        (["--hidden", 1], "--hidden 1.0: expected a share"),
        (["--targets", 0], "--targets 0: expected at least 1"),
        (["--moved", "0.5"], "--moved does nothing without --prior"),
        (["--guide", "map", "--edge-prior", "normal"], "point estimate"),
        (["--unmeasured"], "--unmeasured does nothing without --perturbation-key"),
        (["--method", "glad", "--rungs", "1"], "none of these rungs is for it"),
    ],
)
def test_it_is_refused(cells, tmp_path, options, words):
    out = tmp_path / "out"
    code, _, err = call("calibrate", cells / "expression.h5ad", "--tfs", cells / "tfs.csv", *options, "--out", out)
    assert code == 2, err
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not out.exists()


def test_moved_shares_are_refused_with_a_source_too(cells, tmp_path):
    prior = f"motif={cells / 'prior.csv'}"
    words = ("calibrate", cells / "expression.h5ad", "--prior", prior, "--moved", "1.5", "--out", tmp_path / "out")
    code, _, err = call(*words)
    assert code == 2
    assert "--moved 1.5: expected shares" in err.splitlines()[-1]


def test_a_folder_with_something_else_is_never_replaced(cells, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    code, _, err = call("calibrate", cells / "expression.h5ad", *SHORT, "--overwrite", "--out", tmp_path)
    assert code == 2
    assert "something else" in err.splitlines()[-1]
    assert (tmp_path / "thesis.txt").exists()


# -- the section of the benchmarks ----


def test_the_section_keeps_finished_rows_and_skips_what_is_not_there(tmp_path, monkeypatch, capsys, real):
    subject = section.Subject("here", real.data, None, real.network)
    monkeypatch.setattr(section, "SUBJECTS", {"here": lambda folder: subject, "bsubtilis": section._bsubtilis})
    monkeypatch.setattr(section, "METHODS", ("linear", "grnular"))
    monkeypatch.setattr(section, "TARGETS", 6)
    calls = []

    def short(data, **options):
        calls.append(options["path"].method)
        return calibrate(data, rungs=[3], targets=6, worlds=2, seed=options["seed"], path=quick())

    monkeypatch.setattr(section, "calibrate", short)
    monkeypatch.setattr(section, "path_of", lambda method: quick())
    for _ in range(2):
        section.run(tmp_path, Results(tmp_path / "ladder.csv"))
    assert calls == ["linear"]
    cut = Results(tmp_path / "cut.csv")
    cut.add("here: all causes offered, gaussian noise", "linear", "0-1", "ece", 9.0)
    section.run(tmp_path, cut)
    assert calls == ["linear", "linear"]
    assert 9.0 not in pd.read_csv(tmp_path / "cut.csv")["value"].tolist()
    said = capsys.readouterr().out
    assert f"bsubtilis: no {tmp_path / 'bsubtilis'}, left out" in said
    assert "not for grnular" in said
    rows = pd.read_csv(tmp_path / "ladder.csv")
    assert not rows.duplicated(["task", "method", "score"]).any()
    assert set(rows["task"]) == {"here", "here: its own truth", "here: all causes offered, gaussian noise"}
    real_pairs = rows[(rows["task"] == "here: its own truth") & (rows["score"] == "pairs")]["value"].item()
    assert real_pairs == 8 * 22  # edges into regulators are left out
