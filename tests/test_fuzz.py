"""A short run of the fuzzer (`make fuzz` is the long one), and what it holds to."""

import numpy as np
import pytest
from fuzz.cases import run_case
from fuzz.known import KNOWN
from fuzz.oracle import judge_reader, wrong_line
from fuzz.sources import make_expression, make_knowledge
from fuzz.targets import Target
from pyrogrn.models.data import memory
from pyrogrn.models.data.memory import require_memory

SEED, CASES = 15, 160


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    make_expression(folder)
    make_knowledge(folder)
    return folder


def test_mutated_inputs_are_read_or_refused_in_one_line(sources):
    outcomes = [run_case(SEED, case, sources, kinds=("known", "reader")) for case in range(CASES)]
    assert [(o.case, o.name, o.wrong) for o in outcomes if o.wrong] == []
    assert {"read", "refused", "as it should"} <= {o.ended for o in outcomes}


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_changes_whose_outcome_is_known(known, tmp_path):
    for seed in range(3):
        (folder := tmp_path / str(seed)).mkdir()
        known.outcome(known.change(np.random.default_rng(seed), folder))


def test_a_case_is_decided_by_its_seed_and_number(sources):
    assert run_case(SEED, 7, sources, kinds=("reader",)) == run_case(SEED, 7, sources, kinds=("reader",))


def test_what_is_wrong_is_seen():
    def fail(error):
        raise error

    ended = lambda error: judge_reader(Target("x", (), lambda: fail(error)))
    assert "KeyError" in ended(KeyError("a"))[1]
    assert "several lines" in ended(ValueError("a\nb"))[1]
    assert ended(ValueError("a: b")) == ("refused", "")
    assert "letters" in wrong_line("x" * 5000)


def test_memory_that_is_not_there_is_said_before_the_start(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    require_memory(9e8, "a matrix", "use fewer cells")
    with pytest.raises(ValueError, match=r"a matrix needs at least 2 GB of memory and 1 GB are left: use fewer cells"):
        require_memory(2e9, "a matrix", "use fewer cells")
