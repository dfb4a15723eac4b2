"""Files that claim what they do not hold, or were changed since they were written."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from command_line import call
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.inference import Gibbs, Posterior, fit
from pyrogrn.inference.archives import read_arrays
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear

TFS = ["SPI1"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    data = simulate_linear(num_genes=5, num_tfs=2, num_cells=30, edge_probability=0.5, seed=0).data
    posterior = fit(LinearNetwork.from_data(data), guide=Gibbs(num_warmup=2), num_steps=3, restarts=1, seed=0)
    folder = tmp_path_factory.mktemp("saved") / "model"
    posterior.save(folder)
    return folder


@pytest.mark.parametrize("name", ["draws.npz", "model.npz"])
def test_arrays_that_were_changed_since_are_refused(saved, name, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert Posterior.load(folder).seed == 0
    with np.load(folder / name) as archive:
        arrays = {key: archive[key] for key in archive.files}
    key = next(k for k, v in arrays.items() if v.dtype.kind == "f" and v.size)
    np.savez(folder / name, **{**arrays, key: arrays[key] + 1})
    with pytest.raises(ValueError, match=f"{name} was changed since the posterior was saved"):
        Posterior.load(folder)


def test_a_posterior_without_hashes_is_read(saved, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    manifest = folder / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[: text.index(',\n "sha256"')] + "\n}\n")
    assert Posterior.load(folder).seed == 0


def test_an_npz_that_claims_800_gb_is_refused_before_memory_is_asked_for():
    stream = io.BytesIO()
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**5, 10**6)})
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", head.getvalue())
    with pytest.raises(ValueError, match=r"x\.npy says it has the shape \(100000, 1000000\), 800 GB"):
        read_arrays(stream)


@pytest.mark.parametrize(
    ("element", "link", "words"),
    [
        ("matrix", h5py.SoftLink("/nowhere"), "matrix is a link that leads nowhere"),
        ("matrix", h5py.ExternalLink("other.h5", "/x"), r"matrix is a link into another file, other\.h5"),
        ("row_attrs", h5py.SoftLink("/nowhere"), "loom"),
        ("row_attrs/Gene", h5py.SoftLink("/"), "names no genes"),
    ],
)
def test_links_in_a_loom_are_one_line(element, link, words, tmp_path):
    path = tmp_path / "x.loom"
    with h5py.File(path, "w") as store:
        store["matrix"] = np.arange(12.0).reshape(3, 4)
        store["row_attrs/Gene"] = [b"SPI1", b"CSF1R", b"MYC"]
        store["col_attrs/CellID"] = [b"a", b"b", b"c", b"d"]
    assert read_expression(path, tfs=TFS).X.shape == (4, 3)
    with h5py.File(path, "r+") as store:
        del store[element]
        store[element] = link
    with pytest.raises(ValueError, match=words) as error:
        read_expression(path, tfs=TFS)
    assert len(str(error.value).splitlines()) == 1


def test_a_loom_of_nothing_that_claims_memory_is_refused(tmp_path):
    path = tmp_path / "x.loom"
    with h5py.File(path, "w") as store:
        store.create_dataset("matrix", shape=(10**6, 10**6), dtype="f4", chunks=True)
        store["row_attrs/Gene"], store["col_attrs/CellID"] = [b"SPI1"], [b"a"]
    with pytest.raises(ValueError, match=r"4000 GB, and holds 0\.0 MB"):
        read_expression(path, tfs=TFS)


def test_more_threads_than_a_system_starts_are_refused(tmp_path):
    code, _, err = call("infer", "x.csv", "--threads", 100000, "--out", tmp_path / "out")
    assert code == 2
    assert "--threads 100000: expected at most 1024" in err
    assert list(tmp_path.iterdir()) == []


def test_broken_text_of_an_hdf5_does_not_turn_for_ever(tmp_path):
    path = tmp_path / "x.loom"
    with h5py.File(path, "w") as store:
        store["matrix"] = np.arange(12.0).reshape(3, 4)
        store["row_attrs/Gene"] = ["SPI1", "CSF1R", "MYC"]
        store["col_attrs/CellID"] = list("abcd")
    assert read_expression(path, tfs=TFS).X.shape == (4, 3)
    raw = bytearray(path.read_bytes())
    heap = raw.index(b"GCOL") + 16
    raw[heap : heap + 300] = bytes(300)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="its text is broken"):
        read_expression(path, tfs=TFS)
