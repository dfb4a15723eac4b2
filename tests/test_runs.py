"""Runs of engines: steps that no interrupt cuts in two, callbacks that are closed, machinery looked up by class."""

import os
import signal

import numpy as np
import pytest
from pyrogrn.inference import Checkpoint, Gibbs, History, MeanField, fit, load_checkpoint
from pyrogrn.inference.engines import gibbs as samplers
from pyrogrn.inference.lookup import along_bases
from pyrogrn.inference.runs.chains import Chains
from pyrogrn.inference.runs.interrupts import Aborted
from pyrogrn.inference.runs.run import Run
from pyrogrn.inference.runs.steps import closing
from pyrogrn.models import LinearNetwork, MuVI
from pyrogrn.models.simulators import simulate_muvi


class Listener:
    """Keeps what it is told."""

    def __init__(self):
        self.told, self.closed = [], 0

    def __call__(self, state):
        self.told.append((state.step, state.total, state.message, state.snapshot()))

    def close(self):
        self.closed += 1


# -- steps ----


def test_callbacks_are_told_of_every_step():
    listener = Listener()
    with Run(seed=0, threshold=0.1, callbacks=[listener]).steps(2, 5) as steps:
        for step in steps:
            steps.tell(step + 1, f"step {step}", lambda step=step: {"step": step})
    assert listener.told == [(k + 1, 5, f"step {k}", {"step": k}) for k in (2, 3, 4)]
    assert listener.closed == 0, "whoever opened them closes them"


def test_an_interrupt_waits_for_the_end_of_the_step():
    listener, before, ended = Listener(), signal.getsignal(signal.SIGINT), []

    def interrupted():
        with Run(seed=0, threshold=0.1, callbacks=[listener]).steps(0, 5) as steps:
            for step in steps:
                if step == 1:
                    os.kill(os.getpid(), signal.SIGINT)
                ended.append(step)
                steps.tell(step + 1, "")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ended == [0, 1]
    assert [told[0] for told in listener.told] == [1, 2], "a checkpoint of the last step can be written"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("error", "written"), [(KeyboardInterrupt, True), (Aborted, False), (ValueError, False)])
def test_checkpoints_are_written_when_a_run_is_interrupted_between_steps(error, written, tmp_path):
    checkpoint, listener = Checkpoint(tmp_path / "state"), Listener()
    run = Run(seed=0, threshold=0.1, callbacks=[checkpoint, listener])

    def ended():
        with closing(run.callbacks), run.steps(0, 3) as steps:
            steps.tell(1, "", lambda: {"fingerprint": {}, "step": 1})
            raise error

    with pytest.raises(error):
        ended()
    assert (tmp_path / "state").exists() == written
    assert listener.closed == 1


def test_chains_keep_the_last_of_every_few_steps():
    chains = Chains(number=2, num_warmup=5, num_samples=4, thin=3)
    assert [step for step in range(chains.total) if chains.keeps(step)] == [7, 10, 13, 16]


def test_a_record_of_every_step_is_numbered_from_one():
    history = History.every_step("budget", np.zeros((2, 3)), 1.5)
    assert history.steps.tolist() == [1, 2, 3]
    assert history.rate.tolist() == [0.0, 0.0, 0.0]


# -- machinery ----


def test_the_nearest_base_with_a_row_counts():
    table = {int: "number", object: "anything"}
    assert along_bases(table, bool) == "number"
    assert along_bases(table, str) == "anything"
    assert along_bases({int: "number"}, str) is None


class Mine(LinearNetwork):
    """A network that somebody samples in another way."""


def test_a_row_from_outside_makes_gibbs_an_engine_of_a_model(tiny_data, monkeypatch):
    def sample(model, data, run, chains):
        collector, history = samplers.sample_network(model, data, run, chains)
        return collector, History("by a row of one's own", history.elbo, history.steps, history.rate, 0.0)

    monkeypatch.setitem(samplers.CHAINS, Mine, sample)
    guide = Gibbs(num_chains=1, num_warmup=2, num_samples=3)
    found = [kind.from_data(tiny_data) for kind in (LinearNetwork, Mine)]
    reasons = [guide.run(model, None, Run(seed=1, threshold=0.1))[1].reason for model in found]
    assert reasons == ["budget", "by a row of one's own"]


def test_minibatches_are_refused_by_what_the_engine_says_of_itself(tiny_data):
    assert MeanField.minibatches
    with pytest.raises(ValueError, match="samplers use all cells"):
        fit(LinearNetwork.from_data(tiny_data), tiny_data, guide=Gibbs(1, 1, 1), batch_size=10)


# -- files ----


def test_checkpoints_of_programs_have_the_dispersion_beside_the_state(tmp_path):
    """As versions before wrote them: parts of the state that only rounds cell by cell have."""
    data = simulate_muvi(num_genes=8, num_cells=60, num_sets=2, set_size=3, missing=0.1, seed=1).data
    path = tmp_path / "state"
    fit(MuVI(data, num_factors=2), data, num_steps=3, num_draws=2, restarts=2, callbacks=[Checkpoint(path, seconds=0)])
    stored = load_checkpoint(path)
    beside = {"dispersion", "size", "scales_bound"}
    assert beside <= set(stored)
    assert not beside & set(stored["state"])
    assert stored["size"].shape == (2, 8)
