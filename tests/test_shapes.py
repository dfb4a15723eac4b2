"""Shapes broadcast as torch's, which need not be asked."""

import pytest
import torch
from pyrogrn.priors.shapes import broadcast_shapes

SHAPES = [((), (3,)), ((2, 1), (1, 3), ()), ((4, 1, 5), (3, 1)), ((0, 1), (1, 2)), ((1,),)]


@pytest.mark.parametrize("shapes", SHAPES)
def test_as_torch(shapes):
    found = broadcast_shapes(*shapes)
    assert type(found) is torch.Size
    assert found == torch.broadcast_shapes(*shapes)


def test_refuses_what_does_not_fit():
    with pytest.raises(RuntimeError, match=r"do not broadcast: \(2,\), \(3,\)"):
        broadcast_shapes((2,), (3,))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated:DeprecationWarning")
def test_sizes_stay_free_in_a_trace():
    function = lambda a, b: a.new_zeros(broadcast_shapes(a.shape, b.shape)) + a
    traced = torch.jit.trace(function, (torch.ones(2, 1), torch.ones(3)))
    assert traced(torch.ones(4, 1), torch.ones(5)).shape == (4, 5)
