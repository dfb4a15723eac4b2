"""A saved posterior comes back whole, or the error names the file; nothing half-written is left."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyrogrn.inference import Gibbs, MapEstimate, MeanField, Posterior, fit, storage
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Horseshoe, Hyper, Laplace, PriorNetwork, SpikeSlab

GIBBS = Gibbs(num_chains=2, num_warmup=20, num_samples=30)


def make(case: str):
    """A posterior of each kind of model, with the data it was fitted to."""
    contexts = 2 if case == "contexts" else 1
    data = simulate_linear(
        num_genes=9, num_tfs=3, num_cells=90, edge_probability=0.4, num_perturbed=1, num_contexts=contexts, seed=1
    ).data
    edges = pd.DataFrame(
        {
            "source": ["G0000", "G0001", "G0009", "G0002"],
            "target": ["G0004", "G0005", "G0003", "G0006"],
            "sign": [1, -1, 0, 1],
        }
    )
    signed = PriorNetwork.from_edges(edges, name="signed")
    plain = PriorNetwork.from_edges(edges[["source", "target"]], name="plain")
    networks = {"signed": signed, "plain": plain}
    priors = {
        "spike-slab": SpikeSlab(slab_scale=0.4, strategy="scale"),
        "contexts": SpikeSlab(edge_probability=0.2),
        "hard-mask": HardMask(SpikeSlab(hub_scale=0.0)),
        "horseshoe": Horseshoe(tau=0.1),
        "laplace": Laplace(scale=Hyper(dist.Exponential, 20.0)),
    }
    model = LinearNetwork.from_data(
        data, edge_prior=priors[case], networks=None if case == "contexts" else networks, targets=data.genes[1:]
    )
    guides = {"horseshoe": MeanField(), "laplace": MapEstimate()}
    posterior = fit(model, guide=guides.get(case, GIBBS), num_steps=40, num_draws=30, restarts=2, seed=3)
    return posterior.with_notes(["one note"]), data


@pytest.fixture(scope="module", params=["spike-slab", "contexts", "hard-mask", "horseshoe", "laplace"])
def saved(request, tmp_path_factory):
    posterior, data = make(request.param)
    folder = tmp_path_factory.mktemp("saved") / request.param
    posterior.save(folder)
    return posterior, Posterior.load(folder), data


@pytest.fixture(scope="module")
def posterior():
    return make("spike-slab")[0]


@pytest.fixture
def folder(posterior, tmp_path):
    posterior.save(tmp_path / "model")
    return tmp_path / "model"


def test_edges_predictions_and_samples_are_identical(saved):
    before, after, _ = saved
    for context in [None, *before.coords["context"]]:
        pd.testing.assert_frame_equal(before.edges(context=context), after.edges(context=context))
    prediction = {"knockout": ["G0001"], "overexpress": {"G0002": 7.5}}
    pd.testing.assert_frame_equal(before.predict(**prediction), after.predict(**prediction))
    first, second = before.sample(10, seed=1), after.sample(10, seed=1)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    pd.testing.assert_frame_equal(before.trust(), after.trust())


def test_datatree_and_diagnosis_are_identical(saved):
    before, after, data = saved
    xr.testing.assert_equal(before.to_datatree(data), after.to_datatree(data))
    pd.testing.assert_frame_equal(before.diagnose(data), after.diagnose(data))


def test_facts_are_identical(saved):
    before, after, _ = saved
    for name in ("guide", "calibrated", "seed", "threshold", "notes"):
        assert getattr(before, name) == getattr(after, name)
    assert before.history.reason == after.history.reason
    assert before.model.knowledge.reports == after.model.knowledge.reports
    assert before.attributes.keys() == after.attributes.keys()
    assert after.attributes["thin"] == before.attributes["thin"]
    assert {name: v.dtype for name, v in before.draws.items()} == {name: v.dtype for name, v in after.draws.items()}


def test_the_model_is_the_same_function(saved):
    before, after, _ = saved
    state = before.model.state_dict()
    assert state.keys() == after.model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in after.model.state_dict().items())
    if before.model.has_contexts:
        return
    generator = torch.Generator().manual_seed(0)
    values = {"W": 0.1 * torch.randn(2, 3, 8, generator=generator), "noise_variance": torch.ones(2, 1, 8)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = log_joint(before.model, values, None, 2)[0]
        torch.manual_seed(0)
        assert torch.equal(first, log_joint(after.model, values, None, 2)[0])


def test_a_loaded_model_can_be_fitted_again(posterior, folder):
    again = fit(Posterior.load(folder).model, guide=GIBBS, seed=3)
    assert np.array_equal(again.draws["W"], posterior.draws["W"])


def test_arrays_in_attributes_travel_with_them(posterior, tmp_path):
    attributes = {"table": np.arange(3.0), "names": np.array(["a", "b"]), "number": np.float64(2.5), "flag": True}
    replace(posterior, attributes=attributes).save(tmp_path / "model")
    loaded = Posterior.load(tmp_path / "model").attributes
    assert loaded["number"] == 2.5
    assert loaded["flag"] is True
    assert np.array_equal(loaded["table"], attributes["table"])
    assert np.array_equal(loaded["names"], attributes["names"])


@pytest.mark.parametrize(
    "value", [object(), float("nan"), np.array([object()]), {1, 2}], ids=["object", "nan", "object array", "set"]
)
def test_attributes_that_json_cannot_hold_are_refused(posterior, tmp_path, value):
    with pytest.raises(ValueError, match=r"attributes|Attributes") as error:
        replace(posterior, attributes={"what": value}).save(tmp_path / "model")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


# -- places ----
def test_a_saved_posterior_is_replaced(posterior, folder):
    replace(posterior, seed=99).save(folder)
    assert Posterior.load(folder).seed == 99
    assert sorted(p.name for p in folder.iterdir()) == ["draws.npz", "manifest.json", "model.npz"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_parents_are_made_and_an_empty_folder_is_used(posterior, tmp_path):
    posterior.save(tmp_path / "a" / "b")
    (tmp_path / "empty").mkdir()
    posterior.save(str(tmp_path / "empty"))
    assert Posterior.load(str(tmp_path / "empty")).seed == posterior.seed
    assert Posterior.load(tmp_path / "a" / "b").seed == posterior.seed


def test_other_folders_and_files_are_left_alone(posterior, folder, tmp_path):
    other = tmp_path / "results"
    other.mkdir()
    (other / "precious.csv").write_text("1")
    with pytest.raises(ValueError, match="is not a saved posterior, so it is not overwritten"):
        posterior.save(other)
    (folder / "precious.csv").write_text("1")  # a posterior with something of the user's beside it
    with pytest.raises(ValueError, match="is not a saved posterior, so it is not overwritten"):
        posterior.save(folder)
    with pytest.raises(ValueError, match="is a file"):
        posterior.save(other / "precious.csv")
    assert (other / "precious.csv").read_text() == "1"


@pytest.mark.parametrize("existed", [False, True])
def test_a_failed_save_leaves_nothing_half_written(posterior, tmp_path, monkeypatch, existed):
    if existed:
        posterior.save(tmp_path / "model")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.np, "savez_compressed", full)
    with pytest.raises(ValueError, match=r"cannot write .*model: No space left on device"):
        replace(posterior, seed=99).save(tmp_path / "model")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == (["model"] if existed else [])
    if existed:
        assert Posterior.load(tmp_path / "model").seed == posterior.seed


def test_the_old_one_comes_back_when_the_last_rename_fails(posterior, folder, monkeypatch):
    rename, calls = storage.os.rename, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(storage.os, "rename", second_fails)
    with pytest.raises(ValueError, match="Input/output error"):
        replace(posterior, seed=99).save(folder)
    monkeypatch.undo()
    assert Posterior.load(folder).seed == posterior.seed
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


# -- damage ----
def edit(folder, change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def refused(folder, match: str) -> None:
    with pytest.raises(ValueError, match=match) as error:
        Posterior.load(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.update(version=2, pyrogrn="9.9"), r"version 2 \(pyrogrn 9.9\).*install a newer pyrogrn"),
        (lambda m: m.update(version="one"), "format version 'one'"),
        (lambda m: m.update(format="other"), "is not the manifest of a saved posterior"),
        (lambda m: m.pop("history"), "history"),
        (lambda m: m["history"].pop("seconds"), "seconds"),
        (lambda m: m.pop("threshold"), "threshold"),
        (lambda m: m["model"].update({"class": "PhoenixNetwork"}), "unknown class 'PhoenixNetwork'"),
        (lambda m: m["edge_prior"].update({"class": "os"}), "unknown class 'os'"),
        (lambda m: m["edge_prior"]["hyper"]["edge_logit"].update(family="Surprise"), "Surprise"),
        (lambda m: m["edge_prior"]["hyper"]["edge_logit"].update(family="constraints"), "no distribution"),
        (lambda m: m["edge_prior"]["hyper"].update(bind={"family": None, "constants": [1]}), "no hyperparameter"),
        (lambda m: m["knowledge"]["reports"]["plain"].pop("edges_in"), "edges_in"),
        (lambda m: m["knowledge"].update(tfs=3), "manifest.json"),
    ],
)
def test_changed_manifests_are_refused(folder, change, match):
    edit(folder, change)
    refused(folder, match)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00\xff"])
def test_a_manifest_that_is_no_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    refused(folder, "manifest.json")


@pytest.mark.parametrize("name", ["manifest.json", "draws.npz", "model.npz"])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    refused(folder, f"{name} is missing")


@pytest.mark.parametrize("name", ["draws.npz", "model.npz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_truncated_arrays_are_named(folder, name, kept):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(kept * len(content))])
    refused(folder, f"{name} is damaged or truncated")


def test_a_flipped_bit_is_noticed(folder):
    content = bytearray((folder / "draws.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "draws.npz").write_bytes(bytes(content))
    refused(folder, "draws.npz is damaged")


def test_pickles_are_not_opened(folder):
    np.savez(folder / "draws.npz", **{"draws/W": np.array([{"a": 1}], dtype=object)})
    refused(folder, "draws.npz is damaged")


def test_arrays_of_another_model_are_refused(folder):
    with np.load(folder / "model.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if name != "knowledge/allowed"}
    np.savez(folder / "model.npz", **arrays)
    refused(folder, "manifest.json does not describe")


def test_a_folder_that_is_no_posterior_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "no folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "is not a saved posterior")


def test_it_loads_after_a_move(folder, posterior, tmp_path):
    shutil.move(folder, tmp_path / "elsewhere")
    assert Posterior.load(tmp_path / "elsewhere").seed == posterior.seed
