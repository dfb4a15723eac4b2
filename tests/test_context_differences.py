"""What differs between contexts: from joint draws, as a method, files and a section of the report."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn import Posterior
from pyrogrn.inference.draws.contexts import OTHERS, pairs_of
from pyrogrn.inference.draws.differences import all_differences, context_differences
from pyrogrn.inference.draws.moments import EdgeMoments

rng = np.random.default_rng(0)


def posterior_of(W, contexts, differs=None):
    """Draws (chain, draw, context, tf, target) as a posterior holds them."""
    tfs, targets = W.shape[-2:]
    allowed = torch.ones(tfs, targets, dtype=torch.bool)
    allowed[0, 0] = False
    model = SimpleNamespace(edge_prior=SimpleNamespace(allowed=allowed), threshold=0.1)
    coords = {
        "context": list(contexts),
        "tf": [f"T{i}" for i in range(tfs)],
        "target": [f"G{i}" for i in range(targets)],
    }
    moments = {"W": moments_of(W.mean(2)), "W_context": moments_of(W)}
    draws, attributes = {"W_context": W}, {} if differs is None else {"differs": differs}
    return SimpleNamespace(
        draws=draws, model=model, coords=coords, threshold=None, moments=moments, attributes=attributes
    )


def moments_of(W):
    mean, sd = W.mean((0, 1)), W.std((0, 1))
    return EdgeMoments(mean, sd, np.ones_like(mean), (W > 0).mean((0, 1)), (W < 0).mean((0, 1)))


def test_what_contexts_share_is_no_difference():
    """Weights that are uncertain together differ surely; those with the same moments and independent do not."""
    shared = rng.normal(0, 1, (2, 500, 1, 2, 3))
    gap = np.array([0.3, 0.0])[:, None, None] + rng.normal(0, 0.02, (2, 500, 2, 2, 3))
    table = context_differences(posterior_of((shared + gap).astype(np.float32), ["a", "b"]), "a", "b")
    assert len(table) == 5
    assert (table["differs"] > 0.99).all()
    assert np.allclose(table["difference"], 0.3, atol=0.01)
    assert np.allclose(table["sd"], 0.02 * 2**0.5, atol=0.004)
    assert (table["sign_probability"] == 1).all()
    assert table["lower"].between(0.2, 0.3).all()
    assert (table["threshold"] == 0.1).all()
    apart = (rng.normal(0, 1, (2, 500, 2, 2, 3)) + np.array([0.3, 0.0])[:, None, None]).astype(np.float32)
    loose = context_differences(posterior_of(apart, ["a", "b"]), "a", "b")
    assert (loose["sd"] > 1).all()
    assert (loose["sign_probability"] < 0.7).all()


def test_differences_change_sign_with_the_order_and_follow_the_threshold():
    W = rng.normal(0, 1, (1, 200, 3, 2, 3)).astype(np.float32)
    p = posterior_of(W, ["a", "b", "c"])
    keys = ["source", "target"]
    one = context_differences(p, "a", "c", threshold=0.5).sort_values(keys, ignore_index=True)
    other = context_differences(p, "c", "a", threshold=0.5).sort_values(keys, ignore_index=True)
    assert np.allclose(one["difference"], -other["difference"])
    assert np.allclose(one["lower"], -other["upper"])
    gap = (W[:, :, 0] - W[:, :, 2])[..., 1, 2].ravel()
    row = one[(one["source"] == "T1") & (one["target"] == "G2")].iloc[0]
    assert row["differs"] == pytest.approx((np.abs(gap) > 0.5).mean())
    assert row["difference"] == pytest.approx(gap.mean(), abs=1e-6)
    assert len(all_differences(p, top=2)) == 6


def test_many_contexts_are_compared_with_the_others():
    names = [f"c{i}" for i in range(8)]
    assert pairs_of(names) == [(name, OTHERS) for name in names]
    assert pairs_of(names[:3]) == [("c0", "c1"), ("c0", "c2"), ("c1", "c2")]
    W = rng.normal(0, 1, (1, 50, 8, 2, 3)).astype(np.float32)
    table = context_differences(posterior_of(W, names), "c2", OTHERS)
    gap = W[0, :, 2] - np.delete(W[0], 2, axis=1).mean(1)
    row = table[(table["source"] == "T1") & (table["target"] == "G1")].iloc[0]
    assert row["difference"] == pytest.approx(gap[:, 1, 1].mean(), abs=1e-5)


def test_the_probability_of_the_model_is_taken_where_it_has_one():
    W = rng.normal(0, 1, (1, 50, 3, 2, 3)).astype(np.float32)
    differs = np.arange(18, dtype=np.float32).reshape(3, 2, 3) / 18  # pairs ab, ac, bc
    p = posterior_of(W, ["a", "b", "c"], differs)
    for one, other, place in (("a", "c", 1), ("c", "a", 1), ("b", "c", 2)):
        table = context_differences(p, one, other).set_index(["source", "target"])
        assert table["threshold"].isna().all()
        assert table.loc[("T1", "G2"), "differs"] == pytest.approx(differs[place, 1, 2])
    assert context_differences(p, "a", "c", threshold=0.1)["differs"].iloc[0] > 0.8


def test_a_list_of_differences_has_its_rate_and_no_edges_into_regulators():
    W = rng.normal(0, 1, (1, 50, 2, 2, 3)).astype(np.float32)
    differs = np.array([[[0.99, 0.9, 0.95], [0.99, 0.2, 0.85]]], dtype=np.float32)
    p = posterior_of(W, ["a", "b"], differs)
    assert len(context_differences(p, "a", "b", fdr=0.1)) == 4  # (T0, G0) may not be; 0.99 0.95 0.9 0.85
    assert len(context_differences(p, "a", "b", fdr=0.05)) == 2 + (1 - 0.9467 < 0.05)
    p.coords["target"] = ["T0", "T1", "G2"]
    table = all_differences(p, fdr=0.1)
    assert set(table["target"]) == {"G2"}
    assert list(table["differs"].round(2)) == [0.95, 0.85]


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("a", "x"), {}, "no context 'x'"),
        (("a", "a"), {}, "with itself"),
        (("a", "b"), {"threshold": -1.0}, "threshold"),
        (("a", "b"), {"level": 1.0}, "level"),
        (("a", "b"), {"fdr": 1.0}, "fdr"),
    ],
)
def test_what_cannot_be_compared(names, options, words):
    W = rng.normal(0, 1, (1, 5, 2, 2, 3)).astype(np.float32)
    with pytest.raises(ValueError, match=words):
        context_differences(posterior_of(W, ["a", "b"]), *names, **options)


def test_the_command_line_writes_and_shows_them(tmp_path):
    """An edge that one condition has and the other has not; contexts whose names are no names of files."""
    cells = np.random.default_rng(1).normal(size=(400, 4))
    cells[:200, 2] += 1.5 * cells[:200, 0]
    cells[:, 3] += cells[:, 1]
    table = pd.DataFrame(cells, columns=["T1", "T2", "A", "B"]).assign(cond=["a/b"] * 200 + ["c"] * 200)
    table.to_csv(tmp_path / "cells.csv", index_label="cell")
    (tmp_path / "tfs.txt").write_text("T1\nT2\n")
    out = tmp_path / "run"
    options = ["--tfs", tmp_path / "tfs.txt", "--context-key", "cond", "--restarts", 2, "--steps", 60, "--out", out]
    code, _, err = call("infer", tmp_path / "cells.csv", *options)
    assert code == 0, err
    found = pd.read_csv(out / "differences_a_b_c.csv")
    first = found.iloc[0]
    assert (first["source"], first["target"], first["context"], first["other"]) == ("T1", "A", "a/b", "c")
    assert first["differs"] > 0.95
    assert first["difference"] > 0.3
    assert found.loc[(found["source"] == "T2") & (found["target"] == "B"), "differs"].item() < 0.6
    posterior = Posterior.load(out / "model")
    again = posterior.context_differences("a/b", "c")
    assert np.allclose(again["differs"], found["differs"], atol=1e-5)
    assert len(posterior.context_differences()) == len(found)
    report = (out / "report.html").read_text()
    assert "differences_*.csv" in report
    assert "probability that the two are not the same edge" in report
    assert "threshold" not in found.dropna(axis=1, how="all")
    listed = pd.read_csv(out / "differences.csv")
    assert list(zip(listed["source"], listed["target"], strict=True)) == [("T1", "A")]
    assert first["inclusion"] > 0.95 > 0.2 > first["inclusion_other"]
    own = pd.read_csv(out / "edges_c.csv").set_index(["source", "target"]).loc[("T1", "A")]
    assert own["inclusion"] == pytest.approx(first["inclusion_other"], abs=1e-5)
    with pytest.raises(ValueError, match="name two contexts"):
        posterior.context_differences("c")
