"""A folder of a saved posterior that was edited, or put together from two, is refused when it is loaded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyrogrn import Posterior

SAVED = Path(__file__).parent / "golden" / "0.1.0"


def edited(folder, file, change):
    """Change the arrays of a file, or the manifest, in place."""
    path = folder / file
    if path.suffix == ".json":
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    change(arrays)
    np.savez(path, **arrays)


def a_name_that_is_none(manifest):
    manifest["knowledge"]["targets"][1] = []


def another_number_of_names(manifest):
    manifest["knowledge"]["targets"].append("more")


def a_site_without_chains(arrays):
    arrays["draws/slab_scale"] = arrays["draws/slab_scale"].ravel()


def fewer_chains(arrays):
    arrays["draws/slab_scale"] = arrays["draws/slab_scale"][:1]


def fewer_targets(arrays):
    arrays["draws/W"] = arrays["draws/W"][..., :-1]


def text(arrays):
    arrays["draws/slab_scale"] = arrays["draws/slab_scale"].astype(str)


def moments_of_another_network(arrays):
    arrays["moments/W/mean"] = arrays["moments/W/mean"][:, :-1]


def a_lost_table(arrays):
    del arrays[next(name for name in arrays if name.endswith("tf_index"))]


CASES = [
    ("manifest.json", a_name_that_is_none),
    ("manifest.json", another_number_of_names),
    ("draws.npz", a_site_without_chains),
    ("draws.npz", fewer_chains),
    ("draws.npz", fewer_targets),
    ("draws.npz", text),
    ("draws.npz", moments_of_another_network),
    ("model.npz", a_lost_table),
]


@pytest.mark.parametrize(("file", "change"), CASES, ids=[change.__name__ for _, change in CASES])
def test_an_edited_folder_is_refused(file, change, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(SAVED / "LinearNetwork", folder)
    edited(folder, file, change)
    with pytest.raises(ValueError, match=r"manifest.json does not describe a posterior") as caught:
        Posterior.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(p.name for p in SAVED.iterdir() if (p / "manifest.json").exists()))
def test_what_was_saved_passes(name):
    Posterior.load(SAVED / name)


# -- what an engine keeps beside its draws ----
def a_spread_as_text(arrays):
    name = "attributes/phoenix.log_spread.U_pi"
    arrays[name] = arrays[name].astype(str)


def a_lost_spread(arrays):
    del arrays["attributes/phoenix.log_spread.noise"]


def a_narrow_mask(arrays):
    arrays["attributes/phoenix.mask.W_pi"] = arrays["attributes/phoenix.mask.W_pi"][..., 1:]


def one_chain_of_weights(arrays):
    for name in [name for name in arrays if name.startswith("attributes/phoenix.")]:
        arrays[name] = arrays[name][:1]


def a_weight_that_is_none(arrays):
    arrays["attributes/phoenix.center.W_pi"][0, 0, 0] = np.nan


def another_layer(arrays):
    arrays["attributes/phoenix.center.V"] = arrays["attributes/phoenix.center.noise"]


def densities_as_text(arrays):
    arrays["attributes/lp"] = arrays["attributes/lp"].astype(str)


KEPT = (
    a_spread_as_text,
    a_lost_spread,
    a_narrow_mask,
    one_chain_of_weights,
    a_weight_that_is_none,
    another_layer,
    densities_as_text,
)


@pytest.mark.parametrize("change", KEPT, ids=[change.__name__ for change in KEPT])
def test_edited_weights_of_phoenix_are_refused(change, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(SAVED / "Phoenix", folder)
    assert Posterior.load(folder).model.name == "phoenix"
    edited(folder, "draws.npz", change)
    with pytest.raises(ValueError, match=r"manifest.json does not describe a posterior") as caught:
        Posterior.load(folder)
    assert "\n" not in str(caught.value)
