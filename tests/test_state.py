"""Models are rebuilt from text in one way; numbers and None come back from it as they were."""

import pytest
from pyrogrn import models
from pyrogrn.models import MODELS, Model
from pyrogrn.models.state import State, as_text


@pytest.mark.parametrize("value", [None, 0, 12, 0.1, 1e-17, 1 / 3])
def test_numbers_and_none_come_back(value):
    state = State({"value": as_text(value)})
    assert state.optional("value") == value
    if value is not None:
        assert state.number("value") == value


def test_names_and_whole_numbers_come_back():
    state = State({"genes": ["A", "B"], "solver": ["ode"], "hidden": as_text(3)})
    assert state.names("genes") == ("A", "B")
    assert state.name("solver") == "ode"
    assert state.integer("hidden") == 3


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_rebuilt_by_the_one_method(model):
    assert model.from_state.__func__ is Model.from_state.__func__


def test_the_data_package_hands_its_names_on():
    missing = [name for name in models.data.__all__ if not hasattr(models.data, name)]
    assert not missing
    assert models.data.ExpressionData is models.ExpressionData
