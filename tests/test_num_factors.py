"""The number of factors is found again on data from the model."""

import pytest
from pyrogrn.inference import number_of_factors
from pyrogrn.models import PPCA, MuVI
from pyrogrn.models.simulators import simulate_ppca


@pytest.mark.parametrize("kind", [PPCA, MuVI])
def test_evidence_and_held_out_cells_find_the_size(kind):
    cells = simulate_ppca(num_genes=25, num_cells=300, num_factors=3, seed=1).data
    table = number_of_factors(lambda c, k: kind(c, num_factors=k), cells, [1, 2, 3, 5])
    assert table.loc[table["best_evidence"], "num_factors"].tolist() == [3]
    assert table.loc[table["best_held_out"], "num_factors"].iloc[0] in (3, 5)
    assert table["held_out"].iloc[2] > table["held_out"].iloc[1] + 3 * table["standard_error"].iloc[1]


def test_bad_input():
    cells = simulate_ppca(num_genes=10, num_cells=40, num_factors=1, seed=1).data
    make = lambda c, k: PPCA(c, num_factors=k)
    with pytest.raises(ValueError, match="no candidates"):
        number_of_factors(make, cells, [])
    with pytest.raises(ValueError, match="held_out"):
        number_of_factors(make, cells, [1], held_out=1.0)
