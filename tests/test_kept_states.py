"""States of unfinished work and configurations of runs, damaged or changed: one line that says what to do."""

import json
import zipfile

import pytest
import torch
from command_line import call
from pyrogrn.experiments.files.stored_config import read_config
from pyrogrn.experiments.sweep import sweep
from pyrogrn.inference import Checkpoint, MeanField, fit, load_checkpoint
from pyrogrn.inference.amortised.batches import Batch
from pyrogrn.inference.amortised.evidence import CHANNELS
from pyrogrn.inference.amortised.kept_states import fitting, read_kept, read_kept_batch
from pyrogrn.inference.runs.saving import load_whole, save_whole
from pyrogrn.inference.storage import _read_arrays
from pyrogrn.models import LinearNetwork
from pyrogrn.priors import Normal

STATE = {"fingerprint": "abc", "step": 3, "value": torch.arange(6.0)}


@pytest.fixture
def path(tmp_path):
    save_whole(STATE, tmp_path / "state.pt")
    return tmp_path / "state.pt"


def test_a_state_comes_back_and_torch_reads_it_too(path):
    for state in (load_whole(path), load_checkpoint(path), torch.load(path, weights_only=True)):
        assert torch.equal(state["value"], STATE["value"])


@pytest.mark.parametrize("where", [0, 1, 2, 3, 4, 5, 6, 7])
def test_any_bit_is_noticed(path, where):
    raw = bytearray(path.read_bytes())
    raw[where * (len(raw) - 1) // 7] ^= 4
    path.write_bytes(raw)
    said = r"state.pt (was changed|is not a state).*remove it and run again without resum"
    with pytest.raises(ValueError, match=said):
        load_checkpoint(path)


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"x" * 500])
def test_another_file_is_no_state(path, raw):
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="cut short, or another file"):
        load_checkpoint(path)


def test_a_state_cut_short_or_edited(path):
    raw = path.read_bytes()
    path.write_bytes(raw[:-90])
    with pytest.raises(ValueError, match="is not a state that this version wrote"):
        read_kept(path)


def test_a_state_of_an_earlier_version_has_no_hash_and_is_read(path):
    torch.save(STATE, path)
    assert read_kept(path)["step"] == STATE["step"]
    raw = bytearray(path.read_bytes())
    raw[raw.index(STATE["value"].numpy().tobytes())] ^= 4
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"was changed after it was written: its part .* is damaged"):
        load_whole(path)
    raw[raw.index(b"PK\x01\x02")] ^= 4
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"was changed after it was written \(BadZipFile\)"):
        load_whole(path)


@pytest.mark.parametrize("key", ["guide", "optimizer", "step", "elbo", "rng", "fingerprint"])
@pytest.mark.parametrize("value", [None, -1, "x", {}, torch.zeros(2), "missing"], ids=str)
def test_a_checkpoint_without_a_hash_that_was_edited(key, value, tiny_data, tmp_path):
    """One line, whatever stands in it (what earlier versions wrote has no hash to tell)."""
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    options = {"guide": MeanField(), "num_steps": 6, "num_draws": 2, "restarts": 2, "jit": False}

    class Stop:
        def __call__(self, state):
            if state.step == 4:
                raise KeyboardInterrupt

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        fit(model, **options, callbacks=[Checkpoint(tmp_path / "state.pt"), Stop()])
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    if isinstance(value, str) and value == "missing":
        del state[key]
    else:
        state[key] = value
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"run again without resuming|belongs to another fit") as refusal:
        fit(model, **options, resume=load_checkpoint(tmp_path / "state.pt"))
    assert "\n" not in str(refusal.value)


def a_batch():
    pairs = (2, 3, 4)
    return Batch(torch.ones(*pairs, len(CHANNELS)), torch.ones(pairs), torch.ones(*pairs, 3), *torch.ones(2, *pairs))


@pytest.mark.parametrize("part", Batch._fields)
@pytest.mark.parametrize("change", ["shape", "not finite", "no tensor", "missing"])
def test_kept_simulations_without_a_hash_that_were_edited(part, change, tmp_path):
    path, batch = tmp_path / "batch_000001.pt", a_batch()
    torch.save(tuple(batch), path)
    assert all(torch.equal(a, b) for a, b in zip(read_kept_batch(path), batch, strict=True))
    parts = batch._asdict()
    parts[part] = {
        "shape": parts[part][..., :-1],
        "not finite": parts[part] * torch.inf,
        "no tensor": "x",
        "missing": None,
    }[change]
    torch.save(tuple(value for value in parts.values() if value is not None), path)
    with pytest.raises(
        ValueError, match=r"batch_000001\.pt does not hold what .*: remove .* and train again"
    ) as refusal:
        read_kept_batch(path)
    assert "\n" not in str(refusal.value)


def test_a_kept_network_of_another_shape(seeded, tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), path := tmp_path / "solver.pt")
    with (
        pytest.raises(ValueError, match=r"solver\.pt does not hold what .*RuntimeError.*train again from the start"),
        fitting(path, state := read_kept(path)),
    ):
        torch.nn.Linear(2, 4).load_state_dict(state)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", json.dumps({"layer": 5}), "[" * 100_000])
def test_a_configuration_that_is_none(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json.*run again with --overwrite"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "muvi", "--false", "inf"),
        ("simulate", "sergio", "--decay", "nan"),
        ("simulate", "linear", "--edge-probability", "-inf"),
        ("score-cells", "run", "x.csv", "--least-genes", "nan"),
    ],
)
def test_numbers_of_options_are_finite(words, tmp_path):
    code, _, err = call(*words, "--out", tmp_path / "made")
    assert code == 2
    assert f"{words[-2]} {words[-1]}: expected a finite number" in err
    assert not list(tmp_path.iterdir())


def double(configuration):
    return {"value": [2.0 * configuration["x"]]}


def test_a_result_of_a_sweep_that_was_changed(tmp_path):
    sweep(double, [{"x": 1}, {"x": 2}], out=tmp_path, backend="serial", progress=False)
    path = sorted(tmp_path.glob("*.json"))[0]
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"result": {"value": []}}))
    with pytest.raises(ValueError, match=f"{path.name} was changed after it was written: remove it to run it again"):
        sweep(double, [{"x": 1}, {"x": 2}], out=tmp_path, backend="serial", progress=False)
    del stored["sha256"]  # as earlier versions wrote it
    path.write_text(json.dumps(stored))
    assert len(sweep(double, [{"x": 1}, {"x": 2}], out=tmp_path, backend="serial", progress=False)) == 2


def test_what_another_library_says_of_damage_is_cut(tmp_path):
    name = "draws/" + "x" * 3000
    with zipfile.ZipFile(tmp_path / "draws.npz", "w") as archive:
        archive.writestr(name, b"1")
    raw = (tmp_path / "draws.npz").read_bytes()
    (tmp_path / "draws.npz").write_bytes(raw.replace(b"xxx", b"yyy", 1))
    with pytest.raises(ValueError, match="damaged or truncated") as error:
        _read_arrays(tmp_path / "draws.npz")
    assert len(str(error.value)) < 700
