"""Network and prior files: every format there and back, detection, bad files, and the real ones."""

import gzip
import importlib.util
import inspect
import math
import re
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyrogrn.priors.formats import FORMATS, scenic
from pyrogrn.priors.formats import registry as formats
from pyrogrn.priors.gene_sets import gene_sets_to_network, read_gmt, write_gmt
from pyrogrn.priors.network import PriorNetwork

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark data in {DATA}")
HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None

EDGES = pd.DataFrame(
    {
        "source": ["SPI1", "GATA1", "GATA1", "SPI1", "KLF1", "KLF1", "GATA1"],
        "target": ["CSF1R", "KLF1", "HBB", "GATA1", "HBB", "EPOR", "NA"],
        "probability": [0.91, 0.8, 0.75, 0.6, 1 / 3, 0.2, 0.1],
        "sign": [1, 1, -1, -1, 1, 1, -1],
        "evidence": ["chip", "chip;motif", "motif", "chip", "atac", "atac", "chip"],
    }
)
NETWORK = PriorNetwork.from_edges(EDGES, name="toy")
FILE_NAMES = {
    "gmt": ["sets.gmt", "sets.gmt.gz"],
    "graphml": ["net.graphml", "net.graphml.gz"],
    "gexf": ["net.gexf"],
    "cytoscape": ["net.cyjs", "net.cyjs.gz"],
    "genernib": ["prediction.h5ad"],
    "arboreto": ["adj.tsv"],
    "pyscenic": ["regulons.csv", "regulons.csv.gz"],
    "decoupler": ["collectri.csv.gz"],
    "beeline-truth": ["GroundTruthNetwork.csv", "refNetwork.csv"],
    "beeline-ranked": ["rankedEdges.csv"],
    "celloracle-base": ["base_grn.csv", "base_grn.csv.gz"],
    "inferelator-prior": ["prior.tsv.gz"],
    "panda-motif": ["motif.txt", "tf_motifs.tsv.gz"],
    "panda-ppi": ["ppi.txt"],
    "ppi": ["interactions.csv"],
    "phoenix": ["edge_prior.csv", "edge_prior.csv.gz"],
    "edges": ["edges.csv", "edges.tsv", "edges.txt.gz"],
}


def table_of(network):
    """Edges by pair, so that tables compare whatever their order."""
    return network.to_frame().set_index(["source", "target"]).sort_index()


ONLY_EDGES = {"gmt", "celloracle-base", "panda-motif"}
UNDIRECTED = {"ppi", "panda-ppi"}
WEIGHTS = {"genernib", "decoupler", "beeline-ranked", "inferelator-prior", "phoenix"}


def carried(network, format_name, file_name):
    """What is left of a network (probability, sign, evidence by pair), a second statement of `Format.loses`."""
    table = table_of(network)
    if format_name in UNDIRECTED:
        both = pd.concat([table, table.swaplevel().rename_axis(table.index.names)])
        table = both.groupby(level=[0, 1])[["probability"]].mean().assign(sign=0)
    if format_name in ONLY_EDGES | {"beeline-truth"}:
        table["probability"] = 0.9
    if format_name in ONLY_EDGES | {"arboreto"}:
        table["sign"] = 0
    if format_name == "pyscenic":
        table["sign"] = np.where(table["sign"] < 0, -1, 1)
    if format_name in WEIGHTS:
        table["sign"] = np.where(table["sign"] < 0, -1, 1) if (table["sign"] < 0).any() else 0
    if format_name not in ("edges", "decoupler", "graphml", "gexf", "cytoscape"):
        table["evidence"] = network_name(file_name)
    return table.sort_index()


def network_name(file_name):
    return file_name.removesuffix(".gz").rpartition(".")[0]


def assert_same(actual, expected):
    pd.testing.assert_frame_equal(actual, expected, check_dtype=False, rtol=1e-12)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# -- there and back ----


def test_every_writable_format_is_tested():
    assert set(FILE_NAMES) == {f.name for f in FORMATS if f.write}
    assert len({f.name for f in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(("name", "file"), [(n, f) for n, files in FILE_NAMES.items() for f in files])
@pytest.mark.parametrize("signs", ["both", "some unknown", "none negative", "none"])
def test_round_trip_keeps_what_the_format_carries(tmp_path, name, file, signs):
    change = {"both": lambda s: s, "some unknown": lambda s: s * [1, 0, 1, 1, 0, 1, 1], "none negative": abs}
    sign = change.get(signs, lambda s: 0 * s)(EDGES["sign"].to_numpy())
    network = PriorNetwork.from_edges(EDGES.assign(sign=sign), name="toy")
    path = tmp_path / file
    network.write(path, format=name)
    for forced in (None, name):
        back = PriorNetwork.read(path, format=forced)
        assert back.name == network_name(file)
        assert_same(table_of(back), carried(network, name, file))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [file, *(["edge_prior_gene_names.csv"] if name == "phoenix" else [])]
    )
    assert path.read_bytes().startswith(b"\x1f\x8b") == file.endswith(".gz")


def test_order_and_everything_else_survive_in_our_own_format(tmp_path):
    NETWORK.write(tmp_path / "toy.csv.gz")
    again = PriorNetwork.read(tmp_path / "toy.csv.gz")
    pd.testing.assert_frame_equal(again.to_frame(), NETWORK.to_frame(), check_exact=True)
    first = (tmp_path / "toy.csv.gz").read_bytes()
    NETWORK.write(tmp_path / "toy.csv.gz")
    assert (tmp_path / "toy.csv.gz").read_bytes() == first


def test_layouts_are_those_of_the_other_programs(tmp_path):
    def text(name, file):
        NETWORK.write(tmp_path / file, format=name)
        return (tmp_path / file).read_text()

    assert text("arboreto", "a.tsv").startswith("TF\ttarget\timportance\nSPI1\tCSF1R\t0.91\n")
    assert text("beeline-ranked", "rankedEdges.csv").startswith("Gene1\tGene2\tEdgeWeight\nSPI1\tCSF1R\t0.91\n")
    assert text("beeline-truth", "t.csv").startswith("Gene1,Gene2,Type\nSPI1,CSF1R,+\nGATA1,KLF1,+\nGATA1,HBB,-\n")
    assert text("panda-motif", "m.txt").startswith("SPI1\tCSF1R\t1\n")
    assert text("celloracle-base", "b.csv").startswith("peak_id,gene_short_name,SPI1,GATA1,KLF1\nCSF1R,CSF1R,1,0,0\n")
    assert text("inferelator-prior", "p.tsv").startswith("\tSPI1\tGATA1\tKLF1\nCSF1R\t0.91\t0.0\t0.0\n")
    names = ["SPI1", "GATA1", "KLF1", "CSF1R", "HBB", "EPOR", "NA"]
    assert text("phoenix", "x.csv").splitlines()[0] == "0.0,-0.6,0.0,0.91,0.0,0.0,0.0"
    assert (tmp_path / "x_gene_names.csv").read_text() == "".join(f'"{n}"\n' for n in ["x", *names])
    NETWORK.write(tmp_path / "g.h5ad", format="genernib")
    uns = anndata.read_h5ad(tmp_path / "g.h5ad").uns
    assert list(uns["prediction"].columns) == ["source", "target", "weight"]
    assert all(isinstance(w, str) for w in uns["prediction"]["weight"])
    assert {"dataset_id", "method_id"} <= set(uns)


def test_parquet_needs_pyarrow(tmp_path):
    path = tmp_path / "base.parquet"
    if HAS_PYARROW:
        NETWORK.write(path, format="celloracle-base")
        assert_same(table_of(PriorNetwork.read(path)), carried(NETWORK, "celloracle-base", "base.parquet"))
        path.write_bytes(path.read_bytes()[:-20])
    else:
        with pytest.raises(ValueError, match="parquet needs pyarrow") as error:
            NETWORK.write(path, format="celloracle-base")
        one_line(error)
        path.write_bytes(b"PAR1junk")
    with pytest.raises(ValueError, match=r"base\.parquet: ") as error:
        PriorNetwork.read(path)
    one_line(error)


# -- other programs' own files ----

SAMPLES = {
    "pyscenic": (
        "regulons.csv",
        ",,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment\n"
        ",,AUC,NES,MotifSimilarityQvalue,OrthologousIdentity,Annotation,Context,TargetGenes,RankAtMax\n"
        "TF,MotifID,,,,,,,,\n"
        "A,m1,0.1,3.2,0,1,direct,\"frozenset({'activating', 'hg38', 'top50'})\",\"[('X', 1.5), ('Y', 0.5)]\",900\n"
        "A,m2,0.1,3.1,,,direct,\"frozenset({'repressing', 'hg38'})\",\"[('Y', np.float64(2.5))]\",800\n"
        "B,m1,0.1,4.0,0,1,direct,\"frozenset({'activating', 'hg38'})\",\"[('X', 1.5)]\",10\n",
    ),
    "sif": ("net.sif", "A\tactivates\tX\nA\tinhibits\tY\nB\tactivates\tX\n"),
    "arboreto": ("adjacencies.tsv", "TF\ttarget\timportance\nA\tX\t12.5\nA\tY\t2.5\nB\tX\t1.25\n"),
    "decoupler": (
        "collectri.csv",
        "source,target,weight,resources,references,sign_decision\n"
        "A,X,1,ExTRI;TRRUST,1;2,PMID\nA,Y,-1,DoRothEA-A,3,PMID\nB,X,1,ExTRI,4,default activation\n",
    ),
    "beeline-truth": ("refNetwork.csv", "Gene1,Gene2,Type\nA,X,+\nA,Y,-\nB,X,+\nA,X,+\n"),
    "beeline-ranked": ("rankedEdges.csv", "Gene1\tGene2\tEdgeWeight\nA\tX\t5\nA\tY\t-3\nB\tX\t1\n"),
    "celloracle-base": (
        "base.csv",
        ",peak_id,gene_short_name,A,B\n0,chr1_1_2,X,0.0,1.0\n1,chr1_5_6,X,1.0,0.0\n2,chr2_1_2,Y,1.0,0.0\n",
    ),
    "celloracle-links": (
        "links_cluster0.csv",
        ",source,target,coef_mean,coef_abs,p,-logp\n0,A,X,0.02,0.02,1e-9,9\n1,A,Y,-0.01,0.01,1e-3,3\n"
        "2,B,X,0.005,0.005,0.1,1\n3,B,Y,0.0,0.0,1.0,0\n",
    ),
    "inferelator-prior": ("prior.tsv", "\tA\tB\nX\t1\t1\nY\t-1\t0\nZ\t0\t0\n"),
    "inferelator-network": (
        "network.tsv.gz",
        "target\tregulator\tcombined_confidences\tgold_standard\tprior\tbeta.sign.sum\tvar.exp.median\n"
        "X\tA\t0.99\t1\t1\t5\t0.2\nY\tA\t0.5\t\t0\t-3\t0.1\nX\tB\t0.1\t\t0\t1\t0.0\nY\tB\t0\t\t0\t0\t0\n",
    ),
    "panda-motif": ("motif.txt", "A\tX\t1\nA\tY\t1\nB\tX\t1.0\nB\tY\t0\n"),
    "panda-output": ("panda.txt", "tf gene motif force\nA X 1.0 2.0\nA Y 0.0 0.0\nB X 1.0 -1.0\n"),
    "headerless": ("trrust.tsv", "A\tX\tActivation\t1;2\nA\tY\tRepression\t3\nB\tX\tUnknown\t4\n"),
    "edges": ("network.tsv", "regulator\tGene\nA\tX\nA\tY\nB\tX\n"),
    "sergio": ("targets.txt", "2.0,2.0,0.0,1.0,3.5,1.5,2.0,2.0\n3.0,1.0,0.0,-2.5,2.0\n"),
    "posterior": (
        "edges.csv",
        "source,target,weight,sd,lower,upper,inclusion,sign_probability,lfsr,prior\n"
        "A,X,1.5,.1,1,2,1.0,1,0,0.5\nA,Y,-.5,.1,-1,0,0.4,.9,.1,0.5\nB,X,.01,.1,0,1,0.0,.5,.5,0.5\n",
    ),
    "gmt": ("regulons.gmt", "A\thttps://a\tX\tY\tX\nB\t\tX\t\t\n"),
}


@pytest.fixture
def sample(tmp_path):
    def write(name):
        file, text = SAMPLES[name]
        path = tmp_path / file
        path.write_bytes(gzip.compress(text.encode()) if file.endswith(".gz") else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_recognised(sample, name):
    network = PriorNetwork.read(sample(name), genes=list("ABXY") if name == "sergio" else None)
    assert set(zip(network.source, network.target, strict=True)) == {("A", "X"), ("A", "Y"), ("B", "X")}
    forced = PriorNetwork.read(sample(name), format=name, genes=list("ABXY") if name == "sergio" else None)
    assert_same(table_of(forced), table_of(network))


def test_every_readable_format_has_a_sample_or_a_round_trip():
    assert {f.name for f in FORMATS} == set(SAMPLES) | set(FILE_NAMES)


@pytest.mark.parametrize(
    ("name", "probability", "sign"),
    [
        ("arboreto", [10 / 12, 0.5, 1 / 3], [0, 0, 0]),  # importances over their median
        ("pyscenic", [0.5, 2.5 / 4, 0.5], [1, -1, 1]),  # importances over their median, 1.5
        ("decoupler", [0.9, 0.9, 0.9], [1, -1, 1]),
        ("sif", [0.9, 0.9, 0.9], [1, -1, 1]),
        ("beeline-truth", [0.9, 0.9, 0.9], [1, -1, 1]),
        ("beeline-ranked", [5 / 8, 0.5, 1 / 4], [1, -1, 1]),
        ("celloracle-base", [0.9, 0.9, 0.9], [0, 0, 0]),
        ("celloracle-links", [2 / 3, 0.5, 1 / 3], [1, -1, 1]),
        ("inferelator-prior", [0.9, 0.9, 0.9], [1, -1, 1]),
        ("inferelator-network", [0.99, 0.5, 0.1], [1, -1, 1]),
        ("panda-output", [1 / (1 + math.exp(-2)), 0.5, 1 / (1 + math.exp(1))], [0, 0, 0]),
        ("sergio", [0.9, 0.9, 0.9], [1, -1, 1]),
        ("headerless", [0.9, 0.9, 0.9], [1, -1, 0]),
        ("posterior", [1 - 1e-6, 0.4, 1e-6], [1, -1, 1]),
    ],
)
def test_sample_values(sample, name, probability, sign):
    table = table_of(PriorNetwork.read(sample(name), genes=list("ABXY") if name == "sergio" else None))
    np.testing.assert_allclose(table["probability"], probability)
    assert table["sign"].tolist() == sign


def test_decoupler_evidence_and_headerless_panda_output(tmp_path, sample):
    assert PriorNetwork.read(sample("decoupler")).evidence.tolist() == ["ExTRI;TRRUST", "DoRothEA-A", "ExTRI"]
    path = tmp_path / "panda.pairs"
    path.write_text("A\tX\t1\t2.0\nA\tY\t0\t0\n")
    np.testing.assert_allclose(PriorNetwork.read(path).probability, [1 / (1 + math.exp(-2)), 0.5])


def test_protein_pairs_have_both_directions_once(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("gene1,gene2,weight\nA,B,0.4\nB,C,0.7\nC,B,0.7\nA,A,1.0\n")
    table = table_of(PriorNetwork.read(path))["probability"]
    assert table.to_dict() == {
        ("A", "A"): 0.999,
        ("A", "B"): 0.4,
        ("B", "A"): 0.4,
        ("B", "C"): 0.7,
        ("C", "B"): 0.7,
    }
    path.write_text("gene1,gene2,weight\nA,B,0.4\nB,A,0.7\n")
    with pytest.raises(ValueError, match="listed more than once"):
        PriorNetwork.read(path, duplicates="error")
    merged = PriorNetwork.read(path)
    np.testing.assert_allclose(merged.probability, [0.55, 0.55])


def test_phoenix_in_its_three_layouts(tmp_path):
    expected = {("A", "B"): 1, ("B", "C"): -1}
    named, dense, triples = (tmp_path / f for f in ("named.csv", "dense.csv", "triples.csv"))
    named.write_text('"","A","B","C"\n"A",0,1,0\n"B",0,0,-1\n"C",0,0,0\n')
    dense.write_text("0,1,0\n0,0,-1\n0,0,0\n")
    triples.write_text("1,2,1\n2,3,-1\n")
    (tmp_path / "names.csv").write_text('"x"\n"A"\n"B"\n"C"\n')
    networks = [
        PriorNetwork.read(named),
        PriorNetwork.read(dense, genes=["A", "B", "C"]),
        PriorNetwork.read(triples, genes=tmp_path / "names.csv"),
    ]
    for network in networks:
        assert table_of(network)["sign"].to_dict() == expected
        assert set(network.probability) == {0.9}
    with pytest.raises(ValueError, match=r"has no gene names; pass genes= .*dense_gene_names.csv"):
        PriorNetwork.read(dense)
    with pytest.raises(ValueError, match="must count genes from 1 to 2"):
        PriorNetwork.read(triples, genes=["A", "B"])
    dense.write_text("0,1\n0,0\n")
    with pytest.raises(ValueError, match="has 2 rows and 2 columns, but 3 gene names"):
        PriorNetwork.read(dense, genes=["A", "B", "C"])
    NETWORK.write(tmp_path / "e.csv")
    with pytest.raises(ValueError, match="genes= is of no use for format 'edges'"):
        PriorNetwork.read(tmp_path / "e.csv", genes=["A"])


def test_regulons_of_pyscenic_are_read_as_pyscenic_reads_them(tmp_path):
    """Its table has two levels of columns and of rows; the set and the list are Python's."""
    path = tmp_path / "regulons.csv"
    NETWORK.write(path, format="pyscenic")
    table = pd.read_csv(path, index_col=[0, 1], header=[0, 1], skipinitialspace=True)["Enrichment"]
    assert table.index.names == ["TF", "MotifID"]
    assert list(table.columns) == list(scenic.COLUMNS)
    found = {
        (tf, target): (-1 if "repressing" in eval(row.Context) else 1, weight)
        for (tf, _), row in table.iterrows()
        for target, weight in eval(row.TargetGenes)
    }
    assert found == {(s, t): (sign, p) for s, t, p, sign, _ in EDGES.itertuples(index=False)}
    assert np.isfinite(table[["AUC", "NES"]]).all(axis=None)

    for text, words in (
        ("TF,MotifID,Context,TargetGenes\nA,m,frozenset(),[]\n", "line 2: TargetGenes holds no pair"),
        ("TF,MotifID,Context,TargetGenes\nA,m\n", "line 2 has 2 cells under 4 headings"),
        ("TF,MotifID,Context,TargetGenes\nA,m,{},\"[('B', x)]\"\n", "importance 'x' of 'B' is no number"),
        ("TF,MotifID,Context,TargetGenes\n", "has headings but no rows"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(words)):
            PriorNetwork.read(path)
    path.write_text("TF,MotifID,Context,TargetGenes\nA,m,{},\"[('B', 2.0)]\"\n")  # of older files, one line of headings
    assert PriorNetwork.read(path).sign.tolist() == [1]


def test_genernib_holds_several_cell_types_and_repeats(tmp_path):
    table = pd.DataFrame({"source": ["A", "A", "A"], "target": ["X", "X", "X"], "weight": ["4.0", "-2.0", "2.0"]})
    table["cell_type"] = ["B", "T", "T"]
    table.index = table.index.astype(str)
    path = tmp_path / "prediction.h5ad"
    anndata.AnnData(uns={"dataset_id": "op", "method_id": "m", "prediction": table}).write_h5ad(path)
    network = PriorNetwork.read(path)
    assert len(network) == 1
    assert network.sign.tolist() == [0]
    np.testing.assert_allclose(network.probability, [(2 / 3 + 0.5 + 0.5) / 3])
    assert PriorNetwork.read(path, where={"cell_type": "B"}).probability.tolist() == [0.5]


def test_gene_called_na_and_names_of_numbers_stay_names(tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text(" source ,target\nNA,1\n007, nan \n")
    network = PriorNetwork.read(path)
    assert set(zip(network.source, network.target, strict=True)) == {("NA", "1"), ("007", "nan")}


def test_rows_are_chosen_by_value(tmp_path):
    path = tmp_path / "priors.csv"
    path.write_text("noise,source,target,kind\n0.0,A,X,a\n0.05,A,X,b\n0.05,A,Y,b\n")
    with pytest.raises(ValueError, match=r"column 'noise' tells them apart \(2 values \[0.0, 0.05\]\)"):
        PriorNetwork.read(path)
    assert len(PriorNetwork.read(path, where={"noise": 0.05})) == 2
    assert len(PriorNetwork.read(path, where={"noise": "0.05", "kind": "b"})) == 2
    with pytest.raises(ValueError, match=r"no row has noise = 0.1; there are \[0.0, 0.05\]"):
        PriorNetwork.read(path, where={"noise": 0.1})
    with pytest.raises(ValueError, match="has no column 'level'"):
        PriorNetwork.read(path, where={"level": 1})
    with pytest.raises(ValueError, match="holds numbers"):
        PriorNetwork.read(path, where={"noise": "low"})


# -- detection ----

AMBIGUOUS = {
    "interactions.txt": ("A\tB\t0.4\nB\tC\t0.3\n", "could be 'panda-motif' .* or 'panda-ppi'"),
    "square.tsv": ("\tA\tB\nA\t0\t1\nB\t1\t0\n", "could be 'inferelator-prior' .* or 'phoenix'"),
    "wide.csv": (",X,Y,Z\nA,0,1,1\nB,1,0,1\n", "could be 'inferelator-prior' .* or 'phoenix'"),
    "words.csv": ("alpha,beta\nA,B\n", r"format not recognised; found columns \['alpha', 'beta'\]; .* beeline-truth"),
    "pairs.txt": ("A\tB\nC\tD\n", r"format not recognised; found columns \['A', 'B'\]"),
    "two.csv": ("tf,regulator,gene\nA,B,C\n", r"columns \['tf', 'regulator'\] could each be the source"),
}


@pytest.mark.parametrize("file", AMBIGUOUS)
def test_ambiguous_files_are_refused_with_what_was_found(tmp_path, file):
    text, message = AMBIGUOUS[file]
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        PriorNetwork.read(tmp_path / file)
    assert one_line(error).startswith(str(tmp_path / file))


def test_forcing_a_format_settles_it(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(AMBIGUOUS["wide.csv"][0])
    assert PriorNetwork.read(path, format="phoenix").sources == ("A", "B")
    assert PriorNetwork.read(path, format="inferelator-prior").targets == ("A", "B")
    path.write_text("A\tB\t0.4\n")
    assert len(PriorNetwork.read(path, format="panda-ppi")) == 2
    assert len(PriorNetwork.read(path, format="panda-motif")) == 1


# -- bad files ----

GOOD = "source,target,weight\nA,X,1\nB,Y,1\n"
BAD = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "only comments": (b"# nothing\n# here", "is empty"),
    "header only": (b"source,target\n", "no rows"),
    "truncated gzip": (gzip.compress(GOOD.encode() * 50)[:-30], "truncated or damaged gzip"),
    "cut gzip": (gzip.compress(GOOD.encode())[:12], "truncated or damaged gzip"),
    "damaged gzip": (b"\x1f\x8bgarbage garbage garbage", "truncated or damaged gzip"),
    "binary": (bytes(range(256)) * 10, "binary content"),
    "latin-1": ("source,target\nA,\u00e9\n".encode("latin-1"), "not UTF-8"),
    "ragged": (GOOD.encode() + b"C,Z,1,2,3\n", "not a regular table"),
    "short row": (b"source,target,weight\nA,X,1\nB\n", "row 2|missing|no target"),
    "missing name": (b"source,target,weight\nA,X,1\n,Y,1\n", "row 2 has no source name"),
    "missing column": (b"source,weight\nA,1\n", r"found columns \['source', 'weight'\]"),
    "repeated column": (b"source,target,target\nA,X,Y\n", r"column names are repeated: \['target'\]|could each be"),
    "word for number": (b"source,target,weight\nA,X,high\n", "'weight', row 1 holds 'high'"),
    "missing weight": (b"source,target,weight\nA,X,1\nB,Y,\n", "'weight', row 2 holds nan"),
    "probability": (b"source,target,probability\nA,X,0.5\nB,Y,1\n", "row 2 has probability 1"),
    "duplicates": (b"source,target,cell\nA,X,B\nA,X,T\n", "1 edges are listed more than once, e.g. A -> X"),
    "sign": (b"source,target,sign\nA,X,high\n", "'sign', row 1 holds 'high'"),
    "level": (b"source,target,confidence\nA,X,Z\n", "'confidence', row 1 holds 'Z'"),
    "nothing": (b"source,target,weight\nA,X,0\n", "holds no edges"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"0" * 100, "not a readable .h5ad"),
    "matrix cell": (b",A,B\nX,1,0\nY,0,\nZ,1,1\n", "row 2, column 'B' holds nan"),
    "matrix word": (b",A,B\nX,1,0\nY,0,yes\nZ,1,1\n", "row 2, column 'B' holds 'yes'"),
    "matrix rows": (b",A,B\nX,1,0\nX,0,1\nZ,1,1\n", "row names are repeated"),
    "base grn": (b"peak_id,gene_short_name,A\np,X,yes\n", "expected one 0/1 column per TF"),
    "posterior": (b"source,target,weight,inclusion\nA,X,1,1.5\n", "row 1 holds 1.5, not a probability"),
    "coefficients": (b"source,target,coef_mean\nA,X,0\n", "every 'coef_mean' is 0"),
    "json": (b'{"a": {"b": ["X", "Y"]}}', "format not recognised"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_one_clear_line(tmp_path, case):
    content, message = BAD[case]
    path = tmp_path / "prior.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        PriorNetwork.read(path)
    assert one_line(error).startswith(str(path))


def test_missing_file_folder_and_wrong_calls(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file") as error:
        PriorNetwork.read(tmp_path / "absent.csv")
    one_line(error)
    with pytest.raises(ValueError, match="is a folder") as error:
        PriorNetwork.read(tmp_path)
    one_line(error)
    (tmp_path / "good.csv").write_text(GOOD)
    with pytest.raises(ValueError, match="unknown format 'csv'; known formats: gmt, genernib"):
        PriorNetwork.read(tmp_path / "good.csv", format="csv")
    with pytest.raises(
        ValueError, match=r"lacks column\(s\) \['TF', 'importance'\]; found \['source', 'target', 'weight'\]"
    ):
        PriorNetwork.read(tmp_path / "good.csv", format="arboreto")
    with pytest.raises(ValueError, match="is a text file, which format 'genernib' never is"):
        PriorNetwork.read(tmp_path / "good.csv", format="genernib")
    anndata.AnnData(np.zeros((2, 2), dtype=np.float32)).write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match=r"found no uns\['prediction'\]"):
        PriorNetwork.read(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match="is a hdf5 file"):
        PriorNetwork.read(tmp_path / "cells.h5ad", format="edges")


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    for name in ("posterior", "panda-output", "celloracle-links", "inferelator-network", "sergio"):
        with pytest.raises(ValueError, match="can be read but not written; formats to write: gmt, genernib"):
            NETWORK.write(tmp_path / "x.csv", format=name)
    with pytest.raises(ValueError, match="cannot be written"):
        NETWORK.write(tmp_path / "absent" / "x.csv")
    with pytest.raises(ValueError, match="cannot be written"):
        NETWORK.write(tmp_path / "absent" / "x.h5ad", format="genernib")
    with pytest.raises(ValueError, match="no edges, so there is nothing to write"):
        NETWORK.dropped(1.0, np.random.default_rng(0)).write(tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())


FORMAT_NAMES = st.sampled_from([None, *(f.name for f in FORMATS)])
CELLS = st.sampled_from(
    [
        "A",
        "B",
        "",
        "1",
        "0",
        "-2",
        "0.5",
        "nan",
        "inf",
        "1e400",
        '"',
        "source",
        "target",
        "TF",
        "gene",
        "Gene1",
        "Gene2",
    ]
    + ["weight", "sign", "confidence", "importance", "EdgeWeight", "coef_mean", "regulator", "combined_confidences"]
    + ["gene_short_name", "gene1", "gene2", "tf", "force", "inclusion", "probability", "+", "#x"]
)
TABLES = st.builds(
    lambda rows, separator: "\n".join(separator.join(row) for row in rows),
    st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=5),
    st.sampled_from([",", "\t", " ", ";"]),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(TABLES.map(str.encode), st.text().map(str.encode), st.binary()), FORMAT_NAMES, st.booleans())
def test_any_content_is_read_or_refused_in_one_line(tmp_path, content, name, compressed):
    path = tmp_path / "any.csv"
    path.write_bytes(gzip.compress(content) if compressed else content)
    try:
        network = PriorNetwork.read(path, format=name, genes=["A", "B"] if name in ("phoenix", "sergio") else None)
    except ValueError as error:
        message = str(error)
    else:
        assert len(network) > 0
        message = str(path)
    assert message.startswith(str(path))
    assert "\n" not in message


# -- gene sets ----


def test_gmt_there_and_back(tmp_path):
    sets = {"Up": ("A", "b", "C"), "Down": ("A",)}
    write_gmt(sets, tmp_path / "sets.gmt.gz", descriptions={"Up": "http://x"})
    assert gzip.decompress((tmp_path / "sets.gmt.gz").read_bytes()) == b"Up\thttp://x\tA\tb\tC\nDown\t\tA\n"
    assert read_gmt(tmp_path / "sets.gmt.gz") == sets
    (tmp_path / "odd.gmt").write_text("S\t\tA\tA\t\t B \n\nT\tna\ta\n")
    assert read_gmt(tmp_path / "odd.gmt") == {"S": ("A", "B"), "T": ("a",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "S\tdescription\n",
            "line 1 is not 'name <tab> description <tab> genes...' .2 tab-separated cells, name 'S', 0",
        ),
        ("S\t\tA\n\t\tB\n", "line 2 is not"),
        ("S A B\n", "line 1 is not"),
        ("S\t\tA\nS\t\tB\n", "line 2 repeats the gene set 'S'"),
        ("", "is empty"),
    ],
)
def test_bad_gmt_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "bad.gmt").write_text(text)
    for read in (read_gmt, PriorNetwork.read):
        with pytest.raises(ValueError, match=message) as error:
            read(tmp_path / "bad.gmt")
        one_line(error)


def test_gene_sets_become_a_network(tmp_path):
    network = gene_sets_to_network({"S": ("A", "B", "A"), "T": ("A",)}, name="sets", probability=0.8)
    assert list(zip(network.source, network.target, strict=True)) == [("S", "A"), ("S", "B"), ("T", "A")]
    assert set(network.probability) == {0.8}
    assert set(network.sign) == {0}
    with pytest.raises(ValueError, match="there are no memberships"):
        gene_sets_to_network({}, name="sets")
    with pytest.raises(ValueError, match="no gene sets to write"):
        write_gmt({}, tmp_path / "x.gmt")
    with pytest.raises(ValueError, match="cannot be written as GMT"):
        write_gmt({"S": ("A\tB",)}, tmp_path / "x.gmt")


# -- real files ----

REAL = [  # file, edges, regulators (None: not stated), known signs
    ("priors/collectri_human.csv.gz", 43178, 1186, 43178),
    ("priors/dorothea_abc_human.csv.gz", 13223, None, 13223),
    ("priors/dorothea_abc_mouse.csv.gz", 12895, None, 12895),
    ("yeast_pramila/gold_standard.csv", 1403, 98, 1403),
    ("yeast_pramila/motif_prior.csv.gz", 81230, 105, 0),
    ("yeast_pramila/motif_prior_500.csv.gz", 1146, None, 0),
    ("yeast_pramila/atac_motif_prior.csv.gz", 71865, None, 71865),
    ("yeast_pramila/yeastract.csv.gz", 11486, None, 0),
    ("sergio_ds1/network.csv", 258, 10, 258),
    ("sim350/network.csv", 550, None, 550),
    ("bone_marrow/base_grn.csv.gz", 22689, 113, 0),
    ("bone_marrow/motif_prior_529.csv.gz", 31030, 111, 31030),
    ("bone_marrow/celltype_tf_targets.csv.gz", 24917, None, 0),
    ("breast_desmedt/motif_prior_500.csv.gz", 7732, 34, 0),
    ("breast_desmedt/chip_validation_network.csv.gz", 226813, 61, 0),
    ("breast_desmedt/ppi.csv.gz", 2 * 30425 - 986, 986, 0),
    ("bsubtilis/gold_standard.csv.gz", 3148, 154, 0),
    ("ecoli_stress/network.csv.gz", 2066, 141, 0),
    ("sachs/network.csv", 18, None, 0),
    ("beeline_gsd/network.csv", 79, None, 79),
    ("beeline_mesc/network_chipseq.csv.gz", 29613, 88, 0),
    ("dream4/size100_2/network.csv", 249, None, 249),
]


@needs_data
@pytest.mark.parametrize(("file", "num_edges", "num_sources", "num_signed"), REAL)
def test_real_file(file, num_edges, num_sources, num_signed):
    start = time.process_time()
    network = PriorNetwork.read(DATA / file)
    assert time.process_time() - start < 2.0
    assert len(network) == num_edges
    assert num_sources in (None, len(network.sources))
    assert np.count_nonzero(network.sign) == num_signed


@needs_data
def test_real_signs_and_levels():
    collectri = PriorNetwork.read(DATA / "priors" / "collectri_human.csv.gz")
    assert np.count_nonzero(collectri.sign == 1) == 37360
    assert set(collectri.probability) == {0.9}
    dorothea = PriorNetwork.read(DATA / "priors" / "dorothea_abc_human.csv.gz")
    assert set(dorothea.probability) == {0.95, 0.9, 0.8}
    atac = PriorNetwork.read(DATA / "yeast_pramila" / "atac_motif_prior.csv.gz")
    assert atac.probability.min() == pytest.approx(0.9)  # the median count is 1
    assert np.count_nonzero(atac.sign == -1) > 10_000


@needs_data
@pytest.mark.parametrize(("noise", "kept"), [(0.0, 550), (0.025, 523), (0.05, 495), (0.1, 440)])
def test_real_prior_by_noise_level_and_our_own_corruption(noise, kept):
    truth = PriorNetwork.read(DATA / "sim350" / "network.csv")
    prior = PriorNetwork.read(DATA / "sim350" / "priors.csv.gz", where={"noise": noise})

    def shared(network):
        return len(set(zip(network.source, network.target)) & set(zip(truth.source, truth.target)))  # noqa: B905

    assert (len(prior), shared(prior)) == (550, kept)
    ours = truth.corrupted(1 - kept / 550, np.random.default_rng(0), targets=truth.targets)
    assert shared(ours) == kept


@needs_data
def test_real_gene_sets():
    sets = read_gmt(DATA / "priors" / "msigdb_hallmark_v7.5.1.gmt.gz")
    assert len(sets) == 50
    assert "JUNB" in sets["HALLMARK_TNFA_SIGNALING_VIA_NFKB"]
    network = PriorNetwork.read(DATA / "priors" / "msigdb_hallmark_v7.5.1.gmt.gz")
    assert network.name == "msigdb_hallmark_v7.5.1"
    assert len(network) == sum(map(len, sets.values()))
    assert network.sources == tuple(sets)
    assert len(read_gmt(DATA / "priors" / "msigdb_kegg_v7.5.1.gmt.gz")) == 186
    assert len(read_gmt(DATA / "priors" / "msigdb_reactome_v7.5.1.gmt.gz")) == 1615


@needs_data
def test_real_prior_meets_real_data():
    cells = anndata.read_h5ad(DATA / "beeline_mdc" / "expression.h5ad", backed="r")
    genes = cells.var_names.tolist()
    cells.file.close()
    collectri = PriorNetwork.read(DATA / "priors" / "collectri_human.csv.gz")
    aligned, report = collectri.align(genes, genes)
    assert report.edges_out + report.dropped_self == 1479  # the data's README counts self-edges
    probability, _ = aligned.matrix(genes, genes)
    assert np.count_nonzero(probability) == report.edges_out
    lower = [g.capitalize() for g in genes]
    with pytest.raises(ValueError, match="match only after capitalising"):
        collectri.align(lower, lower)
    turned = collectri.to_frame().rename(columns={"source": "target", "target": "source"})
    tfs = pd.read_csv(DATA / "priors" / "tfs_human.csv")["tf"]
    with pytest.raises(ValueError, match="columns are swapped"):
        PriorNetwork.from_edges(turned, name="turned").align(sorted(set(genes) & set(tfs)), genes)


def test_format_table_is_documented():
    for entry in FORMATS:
        assert entry.layout
        assert bool(entry.loses) == (entry.write is not None and entry.name != "edges")
        assert inspect.getdoc(entry.read) or entry.read.__name__.startswith("_")
    assert formats.format_named("gmt") is FORMATS[0]
