"""PriorNetwork: validation, reading of weights and signs, alignment, dense view, corruption."""

import itertools
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrogrn.priors.corruption import draw_free_cells
from pyrogrn.priors.network import AlignmentReport, PriorNetwork
from scipy import stats


def make(edges, *, name="toy", probability=0.9, sign=0):
    source, target = zip(*edges, strict=True)
    n = len(edges)
    return PriorNetwork(
        source=np.array(source, dtype=object),
        target=np.array(target, dtype=object),
        probability=np.broadcast_to(probability, n),
        sign=np.broadcast_to(sign, n),
        evidence=np.full(n, "test", dtype=object),
        name=name,
    )


def pairs(network):
    return set(zip(network.source, network.target, strict=True))


def random_network(num_sources, num_targets, num_edges, seed, *, shared_names=True):
    """Edges without self-edges; with shared names the sources are targets as well."""
    rng = np.random.default_rng(seed)
    targets = [f"g{i}" for i in range(num_targets)]
    sources = targets[:num_sources] if shared_names else [f"t{i}" for i in range(num_sources)]
    cells = [(s, t) for s, t in itertools.product(sources, targets) if s != t]
    chosen = rng.choice(len(cells), size=min(num_edges, len(cells)), replace=False)
    network = make([cells[i] for i in chosen])
    return PriorNetwork(
        source=network.source,
        target=network.target,
        probability=rng.uniform(0.05, 0.95, len(network)),
        sign=rng.integers(-1, 2, len(network)),
        evidence=np.array([f"e{i}" for i in range(len(network))], dtype=object),
        name="random",
    )


networks = st.builds(
    random_network,
    st.integers(1, 6),
    st.integers(2, 9),
    st.integers(1, 40),
    st.integers(0, 10_000),
    shared_names=st.booleans(),
)
seeds = st.integers(0, 2**32 - 1)
fractions = st.floats(0.0, 1.0)

# -- construction ----


def test_fields_are_frozen_copies():
    probability = np.array([0.2, 0.3])
    network = make([("A", "B"), ("B", "C")], probability=probability)
    probability[0] = 0.7
    assert network.probability.tolist() == [0.2, 0.3]
    assert network.sign.dtype == np.int8
    assert network.probability.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        network.probability[0] = 0.5
    with pytest.raises(AttributeError):
        network.name = "other"
    assert len(network) == 2
    assert network.sources == ("A", "B")
    assert network.targets == ("B", "C")
    assert repr(network) == "PriorNetwork('toy', 2 edges, 2 sources, 2 targets, 0 signed)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability": [0.5, 1.0]}, r"row 2 has probability 1 .*open interval"),
        ({"probability": [0.0, 0.5]}, "row 1 has probability 0 "),
        ({"probability": [np.nan, 0.5]}, "row 1 has probability nan"),
        ({"probability": [0.5]}, "differ in length"),
        ({"sign": [2, 0]}, "row 1 has sign 2; expected -1, 0 or"),
        ({"sign": [0, np.nan]}, "row 2 has sign nan"),
        ({"source": ["A", " "]}, "row 2 has no source name"),
        ({"target": [None, "C"]}, "row 1 has no target name"),
        ({"source": ["A", "A"], "target": ["B", "B"]}, r"1 edges are listed more than once, e.g. A -> B"),
        ({"name": ""}, "name is ''"),
    ],
)
def test_invalid_columns_are_refused_in_one_line(changes, message):
    columns = {"source": ["A", "B"], "target": ["B", "C"], "probability": [0.5, 0.5], "sign": [0, 1]}
    columns |= {"evidence": ["x", "y"], "name": "toy"}
    with pytest.raises(ValueError, match=message) as error:
        PriorNetwork(**(columns | changes))
    assert "\n" not in str(error.value)


# -- from_edges ----


def edges(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"source": [f"s{i}" for i in range(n)], "target": [f"t{i}" for i in range(n)], **columns})


def test_unit_weights_are_unweighted_edges():
    network = PriorNetwork.from_edges(edges(weight=[1, 1, 1]), name="unit", default_probability=0.8)
    assert network.probability.tolist() == [0.8] * 3
    assert network.sign.tolist() == [0, 0, 0]
    assert network.evidence.tolist() == ["unit"] * 3
    signed = PriorNetwork.from_edges(edges(weight=[1.0, -1.0]), name="unit")
    assert signed.probability.tolist() == [0.9, 0.9]
    assert signed.sign.tolist() == [1, -1]


def test_weights_within_one_are_probabilities():
    network = PriorNetwork.from_edges(edges(weight=[0.25, -0.5, 1.0]), name="w")
    assert network.probability.tolist() == [0.25, 0.5, 0.999]
    assert network.sign.tolist() == [1, -1, 1]
    assert PriorNetwork.from_edges(edges(weight=[0.5, 0.5]), name="w").probability.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("column", "anchor"), [("weight", 0.9), ("score", 0.5)])
def test_other_weights_have_odds_proportional_to_their_size(column, anchor):
    size = np.array([0.5, 2.0, 4.0, 8.0, 2.0])
    network = PriorNetwork.from_edges(edges(**{column: size * [1, -1, 1, 1, 1]}), name="w")
    odds = network.probability / (1 - network.probability)
    np.testing.assert_allclose(odds / odds[1], size / 2.0)
    assert network.probability[1] == pytest.approx(anchor)
    assert network.sign.tolist() == [1, -1, 1, 1, 1]


@given(st.lists(st.floats(1e-3, 1e5), min_size=2, max_size=20), st.floats(0.5, 1000.0))
def test_weight_map_is_monotone_and_ignores_units(weights, unit):
    weights = [*weights, 2e5]  # not all within (0, 1]
    network = PriorNetwork.from_edges(edges(weight=weights), name="w")
    scaled = PriorNetwork.from_edges(edges(weight=np.array(weights) * unit), name="w")
    order = np.argsort(weights, kind="stable")
    assert (np.diff(network.probability[order]) >= 0).all()
    np.testing.assert_allclose(scaled.probability, network.probability, rtol=1e-9)


def test_zero_weight_means_no_edge():
    network = PriorNetwork.from_edges(edges(weight=[0, 1, 0.0]), name="w")
    assert pairs(network) == {("s1", "t1")}
    with pytest.raises(ValueError, match="holds no edges"):
        PriorNetwork.from_edges(edges(weight=[0, 0]), name="w")


def test_confidence_levels_are_ordered_probabilities():
    network = PriorNetwork.from_edges(edges(confidence=["A", "B", "c", "D", "E"], sign=[1, -1, 0, 1, 1]), name="d")
    assert network.probability.tolist() == [0.95, 0.9, 0.8, 0.6, 0.4]
    assert network.sign.tolist() == [1, -1, 0, 1, 1]
    with pytest.raises(ValueError, match="'confidence', row 2 holds 'F'"):
        PriorNetwork.from_edges(edges(confidence=["A", "F"]), name="d")


def test_probability_column_is_used_as_it_is():
    network = PriorNetwork.from_edges(edges(probability=[0.1, 0.7], weight=[-3.0, 0.0]), name="p")
    assert network.probability.tolist() == [0.1, 0.7]
    assert network.sign.tolist() == [-1, 0]
    with pytest.raises(ValueError, match=r"row 2 has probability 1.5"):
        PriorNetwork.from_edges(edges(probability=[0.1, 1.5]), name="p")
    with pytest.raises(ValueError, match="row 1 has probability nan"):
        PriorNetwork.from_edges(edges(probability=["high", 0.5]), name="p")


def test_signs_as_words_numbers_and_random_halves(caplog):
    words = ["+", "-", "activation", "Repression", "", "?"]
    assert PriorNetwork.from_edges(edges(sign=words), name="s").sign.tolist() == [1, -1, 1, -1, 0, 0]
    with pytest.raises(ValueError, match="'sign', row 2 holds 'maybe'"):
        PriorNetwork.from_edges(edges(sign=["+", "maybe"]), name="s")
    halves = edges(sign=[0.5, -0.5])
    assert PriorNetwork.from_edges(halves, name="s").sign.tolist() == [0, 0]
    assert "not only -1, 0, +1" in caplog.text
    assert PriorNetwork.from_edges(halves, name="s", signed=True).sign.tolist() == [1, -1]
    assert PriorNetwork.from_edges(edges(sign=[1, -1]), name="s", signed=False).sign.tolist() == [0, 0]
    assert PriorNetwork.from_edges(edges(weight=[1, 1]), name="s", signed=True).sign.tolist() == [1, 1]


def test_many_signs_that_are_all_positive_are_taken_but_said(caplog):
    assert PriorNetwork.from_edges(edges(sign=[1] * 100), name="s").sign.tolist() == [1] * 100
    assert "all 100 rows" in caplog.text


def test_duplicates_are_refused_or_averaged():
    table = pd.DataFrame(
        {
            "source": ["A", "A", "A", "B", "B", "C"],
            "target": ["X", "X", "Y", "X", "X", "X"],
            "probability": [0.2, 0.4, 0.5, 0.6, 0.8, 0.3],
            "sign": [1, 0, 1, 1, -1, -1],
            "evidence": ["chip", "motif", "chip", "chip", "chip", "chip"],
            "cell_type": ["b", "t", "b", "b", "t", "b"],
        }
    )
    with pytest.raises(ValueError, match=r"2 edges.*A -> X, B -> X; column 'cell_type' tells them apart \(2 values"):
        PriorNetwork.from_edges(table, name="d")
    with pytest.raises(ValueError, match="duplicates='mean' to merge"):
        PriorNetwork.from_edges(table.drop(columns="cell_type"), name="d")
    with pytest.raises(ValueError, match="expected 'error' or 'mean'"):
        PriorNetwork.from_edges(table, name="d", duplicates="first")
    merged = PriorNetwork.from_edges(table, name="d", duplicates="mean").to_frame()
    assert merged["source"].tolist() == ["A", "A", "B", "C"]
    np.testing.assert_allclose(merged["probability"], [0.3, 0.5, 0.7, 0.3])
    assert merged["sign"].tolist() == [1, 1, 0, -1]
    assert merged["evidence"].tolist() == ["chip;motif", "chip", "chip", "chip"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"TF": ["A"], "target": ["B"]}), r"lack column\(s\) \['source'\]; found \['TF', 'target'\]"),
        (pd.DataFrame({"source": [], "target": []}), "holds no edges"),
        (pd.DataFrame({"source": ["A", np.nan], "target": ["B", "C"]}), "row 2 has no source name"),
        (edges(weight=[1.0, np.inf]), "row 2 has weight inf"),
        (edges(weight=[1.0, "x"]), "row 2 has weight 'x'"),
    ],
)
def test_bad_tables_are_refused_in_one_line(table, message):
    with pytest.raises(ValueError, match=message) as error:
        PriorNetwork.from_edges(table, name="bad")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("probability", [0.0, 1.0, 2.0])
def test_default_probability_is_checked(probability):
    with pytest.raises(ValueError, match="default_probability"):
        PriorNetwork.from_edges(edges(weight=[1]), name="x", default_probability=probability)


def test_numeric_names_become_text():
    network = PriorNetwork.from_edges(pd.DataFrame({"source": [1, 2], "target": [2, 3]}), name="ids")
    assert pairs(network) == {("1", "2"), ("2", "3")}


# -- from_matrix ----


def test_matrix_in_both_orientations():
    frame = pd.DataFrame([[0.0, 1.0, -1.0], [1.0, 0.0, 0.0]], index=["A", "B"], columns=["A", "B", "C"])
    network = PriorNetwork.from_matrix(frame, name="m")
    assert dict(zip(zip(network.source, network.target, strict=True), network.sign.tolist(), strict=True)) == {
        ("A", "B"): 1,
        ("A", "C"): -1,
        ("B", "A"): 1,
    }
    turned = PriorNetwork.from_matrix(frame.T, name="m", orientation="target-source")
    assert pairs(turned) == pairs(network)
    with pytest.raises(ValueError, match="orientation"):
        PriorNetwork.from_matrix(frame, name="m", orientation="rows")
    with pytest.raises(ValueError, match=r"cell \(B, C\) is nan"):
        PriorNetwork.from_matrix(frame.replace({"C": {0.0: np.nan}}), name="m")
    with pytest.raises(ValueError, match="repeated on an axis"):
        PriorNetwork.from_matrix(frame.set_axis(["A", "A"], axis=0), name="m")
    with pytest.raises(ValueError, match="holds no edges"):
        PriorNetwork.from_matrix(frame * 0, name="m")


# -- align ----


def test_align_counts_add_up():
    network = make([("A", "B"), ("A", "A"), ("A", "Z"), ("Y", "B"), ("Y", "Z"), ("B", "C")])
    aligned, report = network.align(["A", "B"], ["A", "B", "C"])
    assert pairs(aligned) == {("A", "B"), ("B", "C")}
    assert report == AlignmentReport(
        name="toy",
        edges_in=6,
        edges_out=2,
        dropped_unknown_source=2,
        dropped_unknown_target=1,
        dropped_self=1,
        sources_in=3,
        targets_in=4,
        sources_matched=2,
        targets_matched=3,
        num_tfs=2,
        num_targets=3,
        unknown_sources=("Y",),
        unknown_targets=("Z",),
    )
    assert len(str(report).splitlines()) == 3
    assert "2 of 6 edges kept" in str(report)
    assert report.to_dict()["unknown_targets"] == ["Z"]
    _, clean = aligned.align(["A", "B"], ["B", "C"])
    assert str(clean).splitlines() == [
        "prior 'toy': 2 of 2 edges kept; 2 of 2 sources and 2 of 2 targets are in the data (2 TFs, 2 targets)"
    ]


@given(networks, st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)))
def test_align_is_a_filter(network, tf_numbers, target_numbers):
    tfs = [f"{kind}{i}" for kind in "gt" for i in tf_numbers]
    targets = [f"g{i}" for i in target_numbers]
    expected = {(s, t) for s, t in pairs(network) if s in tfs and t in targets and s != t}
    if not expected:
        with pytest.raises(ValueError, match="no edge between"):
            network.align(tfs, targets)
        return
    aligned, report = network.align(tfs, targets, check_orientation=False)
    assert pairs(aligned) == expected
    dropped = report.dropped_unknown_source + report.dropped_unknown_target + report.dropped_self
    assert report.edges_in - report.edges_out == dropped
    again, _ = aligned.align(tfs, targets, check_orientation=False)
    pd.testing.assert_frame_equal(again.to_frame(), aligned.to_frame())


@pytest.mark.parametrize(
    ("network", "tfs", "targets", "message"),
    [
        ([("G1", "A"), ("G2", "A")], ["A"], ["G1", "G2"], "looks like the prior's columns are swapped .2 edges match"),
        ([("Gata1", "Klf1")], ["GATA1"], ["KLF1", "SPI1"], "2 of its 2 names match only after upper-casing .*'GATA1'"),
        ([("GATA1", "KLF1")], ["gata1"], ["klf1"], "match only after lower-casing"),
        ([("GATA1", "KLF1")], ["Gata1"], ["Klf1"], "match only after capitalising"),
        (
            [("ENSG00000102145.14", "ENSG00000105610.4")],
            ["ENSG00000102145"],
            ["ENSG00000105610"],
            "match only after removing Ensembl version suffixes",
        ),
        ([("GATA1", "KLF1")], ["ENSG00000102145"], ["ENSG00000105610"], "the data Ensembl ids"),
        ([("ENSMUSG00000031162", "ENSMUSG00000054191")], ["Gata1"], ["Klf1"], "the prior has Ensembl ids"),
        ([("GATA1", "KLF1")], ["YAL001C"], ["YBR123W"], "nothing in common .*right species"),
        ([("A", "X"), ("B", "Y")], ["A"], ["Y"], "1 sources and 1 targets are in the data, but no edge has both"),
    ],
)
def test_zero_overlap_says_the_likely_cause(network, tfs, targets, message):
    with pytest.raises(ValueError, match=message) as error:
        make(network).align(tfs, targets)
    assert "\n" not in str(error.value)


def test_empty_network_cannot_be_aligned():
    empty = make([("A", "B")]).dropped(1.0, np.random.default_rng(0))
    assert len(empty) == 0
    assert empty.to_frame().empty
    assert empty.matrix(["A"], ["B"])[0].tolist() == [[0.0]]
    with pytest.raises(ValueError, match="no edges at all"):
        empty.align(["A"], ["B"])


def test_swapped_columns_are_noticed_where_tfs_regulate_tfs():
    tfs, genes = [f"t{i}" for i in range(5)], [f"g{i}" for i in range(100)]
    upright = [(t, g) for i, t in enumerate(tfs) for g in genes[i * 20 : i * 20 + 20]] + [("t0", "t1"), ("t1", "t2")]
    make(upright).align(tfs, [*tfs, *genes])
    turned = make([(g, t) for t, g in upright])
    with pytest.raises(ValueError, match="columns are swapped: 2 edges match the data, 102 with source and target"):
        turned.align(tfs, [*tfs, *genes])
    kept, _ = turned.align(tfs, [*tfs, *genes], check_orientation=False)
    assert len(kept) == 2


# -- matrix ----


@given(networks)
def test_matrix_is_the_edge_list(network):
    tfs, targets = sorted(network.sources)[1:] + ["other"], sorted(network.targets)
    probability, sign = network.matrix(tfs, targets)
    assert (probability.dtype, sign.dtype) == (np.float32, np.int8)
    table = {(r.source, r.target): r for r in network.to_frame().itertuples()}
    for (i, tf), (j, target) in itertools.product(enumerate(tfs), enumerate(targets)):
        edge = table.get((tf, target))
        assert probability[i, j] == (0.0 if edge is None else np.float32(edge.probability))
        assert sign[i, j] == (0 if edge is None else edge.sign)


def test_matrix_keeps_probabilities_inside_the_open_interval():
    probability, _ = make([("A", "B"), ("A", "C")], probability=np.array([1e-300, 1 - 1e-12])).matrix(["A"], ["B", "C"])
    assert ((probability > 0) & (probability < 1)).all()
    with pytest.raises(ValueError, match=r"`targets` holds names twice: .'B'."):
        make([("A", "B")]).matrix(["A"], ["B", "B"])


def test_a_million_edges_take_well_under_a_second():
    rng = np.random.default_rng(0)
    cell = rng.choice(1000 * 20_000, 1_000_000, replace=False)
    tfs = np.array([f"t{i}" for i in range(1000)], dtype=object)
    targets = np.array([f"g{i}" for i in range(20_000)], dtype=object)
    network = make(list(zip(tfs[cell // 20_000], targets[cell % 20_000], strict=True)))
    start = time.process_time()
    probability, _ = network.matrix(tfs, targets)
    assert time.process_time() - start < 1.0
    assert np.count_nonzero(probability) == len(network)


# -- corruption ----


@given(networks, fractions, seeds)
def test_corrupted_moves_that_share_to_places_without_edges(network, fraction, seed):
    num_moved = int(np.floor(fraction * len(network) + 0.5))
    universe = [f"g{i}" for i in range(15)]
    sources = [*network.sources, "new"]
    moved = network.corrupted(fraction, np.random.default_rng(seed), sources=sources, targets=universe)
    assert len(moved) == len(network)
    assert len(pairs(moved) & pairs(network)) >= len(network) - num_moved
    changed = (moved.source != network.source) | (moved.target != network.target)
    assert changed.sum() == num_moved
    assert not (moved.source == moved.target).any()
    assert set(moved.source[changed]) <= set(sources)
    assert set(moved.target[changed]) <= set(universe)
    for column in ("sign", "probability", "evidence"):  # travel with the edge
        np.testing.assert_array_equal(getattr(moved, column), getattr(network, column))
    if 15 * len(sources) > 3 * len(network):
        assert len(pairs(moved) & pairs(network)) == len(network) - num_moved


def test_fraction_zero_is_identity_and_one_shares_no_more_than_chance():
    network = random_network(30, 100, 600, seed=1)
    same = network.corrupted(0.0, np.random.default_rng(0))
    pd.testing.assert_frame_equal(same.to_frame(), network.to_frame())
    assert not pairs(network.corrupted(1.0, np.random.default_rng(0))) & pairs(network)
    dense = random_network(30, 100, 2000, seed=2)  # 2970 cells: fewer free ones than edges
    shared = len(pairs(dense.corrupted(1.0, np.random.default_rng(0))) & pairs(dense))
    assert shared == 2000 - 970
    assert shared < 2000 * 2000 / 2970
    full = random_network(30, 100, 2970, seed=3)
    assert pairs(full.corrupted(1.0, np.random.default_rng(0))) == pairs(full)


def test_corruption_is_reproducible_and_refuses_what_cannot_be():
    network = random_network(5, 20, 40, seed=4)
    first, second = (network.corrupted(0.5, np.random.default_rng(9)).to_frame() for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share between 0 and 1"):
            network.corrupted(fraction, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"40 edges are to move but the 2 source-target pairs leave room for"):
        network.corrupted(1.0, np.random.default_rng(0), sources=["a"], targets=["b", "c"])
    with pytest.raises(ValueError, match="`targets` holds names twice"):
        network.corrupted(0.5, np.random.default_rng(0), targets=["b", "b"])


@given(st.integers(1, 60), st.floats(0, 1), seeds)
def test_free_cells_are_free_and_different(num_cells, share, seed):
    rng = np.random.default_rng(seed)
    occupied = np.sort(rng.choice(num_cells, int(share * num_cells), replace=False))
    free = draw_free_cells(occupied, num_cells, num_cells - occupied.size, rng)
    assert sorted(free) == sorted(set(range(num_cells)) - set(occupied))


def test_destinations_are_uniform():
    network = make([("A", "g0"), ("B", "g1")])
    targets = [f"g{i}" for i in range(4)]
    rng = np.random.default_rng(0)
    draws = [network.corrupted(0.5, rng, targets=targets) for _ in range(3000)]
    arrived = Counter(edge for draw in draws for edge in pairs(draw) - pairs(network))
    assert len(arrived) == 6
    assert stats.chisquare(list(arrived.values())).pvalue > 1e-4


@given(networks, seeds)
def test_shuffled_keeps_all_degrees(network, seed):
    shuffled = network.shuffled(np.random.default_rng(seed))
    assert Counter(shuffled.source) == Counter(network.source)
    assert Counter(shuffled.target) == Counter(network.target)
    assert not (shuffled.source == shuffled.target).any()
    np.testing.assert_array_equal(shuffled.sign, network.sign)


def test_shuffled_leaves_self_edges_alone():
    network = make([("A", "A"), ("A", "B"), ("B", "C"), ("C", "A"), ("D", "B")])
    for seed in range(20):
        shuffled = network.shuffled(np.random.default_rng(seed))
        assert {e for e in pairs(shuffled) if e[0] == e[1]} == {("A", "A")}
        assert Counter(shuffled.target) == Counter(network.target)


@pytest.mark.parametrize(
    ("start", "num_states"),
    [
        ([("A", "x"), ("B", "y")], 2),
        ([("A", "x"), ("B", "y"), ("C", "z")], 6),  # permutation matrices
        ([("A", "x"), ("A", "y"), ("B", "x"), ("C", "z")], 5),
        ([("A", "x"), ("A", "y"), ("B", "y"), ("B", "z"), ("C", "x"), ("C", "z")], 6),
    ],
)
def test_shuffled_is_uniform_over_networks_with_these_degrees(start, num_states):
    network = make(start)
    cells = list(itertools.product("ABC", "xyz"))
    degrees = (Counter(network.source), Counter(network.target))
    states = [
        frozenset(c)
        for c in itertools.combinations(cells, len(start))
        if (Counter(s for s, _ in c), Counter(t for _, t in c)) == degrees
    ]
    assert len(states) == num_states
    rng = np.random.default_rng(0)
    seen = Counter(frozenset(pairs(network.shuffled(rng))) for _ in range(600))
    assert set(seen) == set(states)
    assert stats.chisquare([seen[s] for s in states]).pvalue > 1e-4


def test_shuffling_fifty_thousand_edges_takes_seconds_and_forgets():
    rng = np.random.default_rng(0)
    cell = np.unique(rng.zipf(1.3, 400_000) % 500 * 5000 + rng.integers(0, 5000, 400_000))
    cell = rng.choice(cell, 50_000, replace=False)
    network = make([(f"t{c // 5000}", f"g{c % 5000}") for c in cell])
    start = time.process_time()
    shuffled = network.shuffled(rng)
    assert time.process_time() - start < 5.0
    out_degree, in_degree = Counter(network.source), Counter(network.target)
    chance = sum(min(1.0, out_degree[s] * in_degree[t] / 50_000) for s, t in pairs(network)) / 50_000
    assert len(pairs(shuffled) & pairs(network)) / 50_000 < 1.1 * chance


@settings(max_examples=50)
@given(networks, fractions, seeds)
def test_sign_flips_drops_and_hold_outs(network, fraction, seed):
    rng = np.random.default_rng(seed)
    signed = np.count_nonzero(network.sign)
    flipped = network.sign_flipped(fraction, rng)
    assert (flipped.sign != network.sign).sum() == int(np.floor(fraction * signed + 0.5))
    assert (np.abs(flipped.sign) == np.abs(network.sign)).all()
    dropped = network.dropped(fraction, rng)
    assert len(dropped) == len(network) - int(np.floor(fraction * len(network) + 0.5))
    assert pairs(dropped) <= pairs(network)
    rest, held_out = network.hold_out_targets(fraction, rng)
    assert len(held_out) == int(np.floor(fraction * len(network.targets) + 0.5))
    assert pairs(rest) == {(s, t) for s, t in pairs(network) if t not in held_out}
    pd.testing.assert_frame_equal(rest.to_frame(), network.held_out(held_out).to_frame())


def test_unknown_targets_cannot_be_held_out():
    with pytest.raises(ValueError, match=r"1 of 2 `targets` are not targets of network 'toy': \['Q'\]"):
        make([("A", "B")]).held_out(["B", "Q"])
