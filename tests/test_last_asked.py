"""What was asked last of a posterior is not made again, and nothing else is taken for it."""

import gc
import weakref

import pytest
import torch
from pyrogrn import ExpressionData
from pyrogrn.inference.answers.last_asked import LastAsked


class Fit:
    """Stands for a posterior: looked up by what it is, not by what is in it."""


def cells() -> ExpressionData:
    return ExpressionData(torch.zeros(3, 2), ("a", "b"))


@pytest.fixture
def asked() -> LastAsked[list[int]]:
    return LastAsked()


def test_the_last_answer_is_handed_on(asked):
    fit, data = Fit(), cells()
    assert asked.known(fit, data, 10, 0) is None
    answer = [1]
    assert asked.keep(fit, data, 10, 0, answer=answer) is answer
    assert asked.known(fit, data, 10, 0) is answer


@pytest.mark.parametrize("other", [(11, 0), (10, 1), (10,), ()])
def test_another_question_is_another(asked, other):
    fit, data = Fit(), cells()
    asked.keep(fit, data, 10, 0, answer=[1])
    assert asked.known(fit, data, *other) is None


def test_other_cells_and_fits_are_others(asked):
    fit, data = Fit(), cells()
    asked.keep(fit, data, answer=[1])
    assert asked.known(fit, cells()) is None
    assert asked.known(Fit(), data) is None
    second = [2]
    other = cells()
    asked.keep(fit, other, answer=second)
    assert asked.known(fit, other) is second
    assert asked.known(fit, data) is None


def test_nothing_is_kept_alive(asked):
    fit, data = Fit(), cells()
    asked.keep(fit, data, answer=[1])
    seen, gone = weakref.ref(fit), weakref.ref(data)
    del data
    gc.collect()
    assert gone() is None
    assert asked.known(fit, cells()) is None
    del fit
    gc.collect()
    assert seen() is None
