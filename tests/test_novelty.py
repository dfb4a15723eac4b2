"""Cells that a guide was not trained on: how far they lie from its training worlds, and what is said of it."""

import numpy as np
import pytest
import torch
from pyrogrn.inference import Amortised, fit
from pyrogrn.inference.amortised.batches import simulate_example
from pyrogrn.inference.amortised.evidence import CHANNELS, pair_evidence
from pyrogrn.inference.amortised.families import FAMILIES, Family
from pyrogrn.inference.amortised.novelty import FEATURES, distance, summary
from pyrogrn.inference.amortised.weights import load_weights, save_weights
from pyrogrn.inference.amortised.worlds import simulate_worlds
from pyrogrn.inference.diagnostics import diagnose
from pyrogrn.inference.training_worlds import NAME
from pyrogrn.models import ExpressionData, LinearNetwork
from scipy import stats

SMALL = Family(genes=(20, 40), tf_share=(0.2, 0.3), types=(2, 4), cells=(80, 200), in_degree=(1.0, 2.0))


@pytest.fixture(scope="module")
def worlds():
    return simulate_worlds(True, SMALL, 60, 3)


def row_of(X, tfs, guide):
    genes = tuple(f"g{i}" for i in range(X.shape[1]))
    data = ExpressionData(X, genes, tuple(genes[i] for i in tfs))
    posterior = fit(LinearNetwork.from_data(data), data, guide=guide, seed=0)
    (row,) = [r for r in diagnose(posterior).to_dict("records") if r["check"] == NAME]
    return row


def test_features_are_spreads_of_channels():
    evidence = torch.randn(5, 40, len(CHANNELS), generator=torch.Generator().manual_seed(1))
    found = dict(zip(FEATURES, summary(evidence).tolist(), strict=True))
    pairs = evidence.flatten(0, 1).numpy()
    for i in (0, 7, len(CHANNELS) - 1):
        assert found[f"mean of {CHANNELS[i]}"] == pytest.approx(pairs[:, i].mean(), abs=1e-5)
        assert found[f"sd of {CHANNELS[i]}"] == pytest.approx(pairs[:, i].std(ddof=1), rel=1e-4)
        assert found[f"98% quantile of {CHANNELS[i]}"] == pytest.approx(np.quantile(pairs[:, i], 0.98), abs=1e-4)


def test_worlds_of_the_family_have_uniform_p(worlds):
    fresh = simulate_worlds(True, SMALL, 60, 4)
    p = np.array([distance(w, worlds).p for w in fresh])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (p <= 0.05).mean() <= 0.15


def test_what_lies_out_is_found_and_named(worlds):
    odd = worlds[0].double()
    place = FEATURES.index("mean of log cells")
    odd[place] += 40 * worlds[:, place].double().std()
    found = distance(odd, worlds)
    assert found.p == pytest.approx(1 / 61)
    assert found.features[0][0] == "mean of log cells"
    assert found.features[0][1] == pytest.approx(40, abs=3)


def test_few_worlds_are_refused(worlds):
    with pytest.raises(ValueError, match="5 training worlds: expected more than 5"):
        distance(worlds[9], worlds[:5])


def test_the_shipped_guide_knows_its_own_and_doubts_hidden_regulators():
    """A known failure of the guide: few of the regulators are measured (its list is then mostly wrong)."""
    example = simulate_example(True, FAMILIES["protocol"], 1, 88_000_003)
    X, sources = example.X[0], example.sources[0].tolist()
    guide = Amortised("grnular", num_chains=2, num_samples=4)
    own = row_of(X, sources, guide)
    assert own["passed"] is True
    assert own["value"] > 0.05
    kept = [g for g in range(X.shape[1]) if g not in sources[2:]]
    hidden = row_of(X[:, kept], [kept.index(g) for g in sources[:2]], guide)
    assert hidden["passed"] is False
    assert hidden["value"] < 0.05
    assert "unlike anything that the guide was trained on" in hidden["meaning"]
    assert any(channel in hidden["meaning"] for channel in CHANNELS)


def test_parts_that_read_no_evidence_ask_it_too_and_old_weights_say_that_they_cannot(tmp_path):
    example = simulate_example(True, SMALL, 1, 5)
    X, sources = example.X[0], example.sources[0].tolist()
    assert row_of(X, sources, Amortised("grnular-unrolled", num_chains=2, num_samples=4))["passed"] is not None
    network, about = load_weights("grnular-unrolled")
    network.worlds = network.worlds[:0]
    save_weights(network, tmp_path / "old.npz", about["about"])
    row = row_of(X, sources, Amortised(str(tmp_path / "old.npz"), num_chains=2, num_samples=4))
    assert row["passed"] is None
    assert "train them again" in row["meaning"]


def test_a_summary_is_that_of_its_seed():
    example = simulate_example(True, SMALL, 1, 3 * 1_000_003 + 1_500_000)
    expected = summary(pair_evidence(example.X[0], example.sources[0], seed=3 * 1_000_003 + 1_500_000)).half()
    assert torch.equal(simulate_worlds(True, SMALL, 1, 3)[0], expected)
