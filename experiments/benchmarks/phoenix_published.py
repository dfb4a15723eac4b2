"""What the DASH paper prints of PHOENIX on simulated time courses, as rows."""

from .results import Results

# tables 1, 4, 6 and 7 of the DASH paper: sparsity and balanced accuracy in %, test error in thousandths, epochs; with ±
Cell = tuple[float, float]
PAPER: dict[str, dict[str, tuple[Cell, Cell, Cell, Cell | None]]] = {
    "SIM350, noise 5%": {
        "none": ((9.9, 0.4), (58.6, 0.7), (2.5, 0.2), (160, 7)),
        "post-hoc": ((87.0, 0.01), (82.4, 0.2), (2.3, 0.3), (1721, 50)),
        "L0": ((33.8, 4.7), (55.0, 0.5), (8.5, 1.0), (134, 37)),
        "C-NODE": ((6.2, 0.5), (55.9, 0.1), (2.8, 0.6), (214, 4)),
        "PathReg": ((56.5, 1.5), (61.9, 1.0), (8.0, 1.8), (200, 29)),
        "IMP": ((96.0, 0.01), (70.9, 1.5), (3.6, 0.6), (220, 3)),
        "BioPruning": ((83.5, 1.9), (87.3, 0.8), (2.6, 0.9), (79, 2)),
        "DASH": ((94.6, 1.2), (90.7, 0.4), (2.4, 1.2), (192, 24)),
        "IMP, prior loss": ((95.3, 0.3), (75.8, 2.2), (3.4, 1.7), None),
        "DASH, prior loss": ((93.2, 0.7), (90.6, 0.7), (2.0, 1.0), None),
    },
    "SIM350, noise 0%": {
        "none": ((11.3, 0.3), (60.3, 0.3), (2.3, 0.4), (206, 7)),
        "post-hoc": ((90.0, 0.01), (89.8, 0.3), (2.6, 0.5), (1788, 77)),
        "L0": ((34.7, 2.4), (61.3, 0.1), (6.1, 1.8), (119, 43)),
        "C-NODE": ((10.7, 0.2), (60.5, 0.1), (1.9, 0.5), (213, 5)),
        "PathReg": ((59.7, 1.5), (64.2, 0.8), (6.1, 2.3), (213, 7)),
        "IMP": ((95.8, 0.3), (72.8, 0.7), (2.9, 0.5), (195, 16)),
        "BioPruning": ((83.5, 3.5), (88.0, 0.5), (3.6, 0.8), (94, 22)),
        "DASH": ((92.6, 1.2), (91.1, 1.2), (1.9, 0.6), (164, 22)),
        "IMP, prior loss": ((95.5, 0.5), (77.8, 1.3), (4.0, 0.8), None),
        "DASH, prior loss": ((89.1, 5.8), (86.8, 6.7), (3.1, 1.3), None),
    },
    "SIM350, noise 10%": {
        "none": ((2.9, 0.5), (51.3, 0.3), (5.5, 1.9), (211, 15)),
        "post-hoc": ((92.0, 0.01), (83.8, 0.7), (4.1, 1.8), (1813, 94)),
        "L0": ((31.9, 1.6), (50.2, 0.3), (13.3, 1.8), (156, 11)),
        "C-NODE": ((7.2, 0.3), (50.5, 0.3), (36.6, 12.5), (189, 11)),
        "PathReg": ((47.8, 1.8), (50.2, 1.2), (12.7, 1.4), (224, 8)),
        "IMP": ((89.9, 5.0), (63.8, 3.0), (5.1, 0.8), (142, 13)),
        "BioPruning": ((79.7, 1.3), (85.2, 0.3), (5.6, 0.3), (67, 18)),
        "DASH": ((90.8, 4.7), (85.4, 4.2), (5.8, 1.3), (154, 4)),
        "IMP, prior loss": ((88.4, 4.7), (65.0, 5.9), (5.8, 0.5), None),
        "DASH, prior loss": ((86.8, 5.7), (82.0, 7.8), (6.0, 2.3), None),
    },
    "SIM690, noise 5%": {
        "none": ((7.7, 0.1), (56.7, 0.03), (4.3, 0.3), (166, 29)),
        "post-hoc": ((87.0, 0.01), (75.9, 0.2), (3.7, 0.2), (1657, 106)),
        "L0": ((34.9, 1.1), (53.0, 0.3), (12.8, 3.1), (100, 26)),
        "C-NODE": ((4.3, 0.4), (54.0, 0.2), (24.4, 10.2), (210, 2)),
        "PathReg": ((57.7, 0.5), (57.4, 0.2), (35.3, 2.2), (244, 17)),
        "IMP": ((95.8, 0.3), (69.9, 1.5), (6.3, 3.1), (205, 10)),
        "BioPruning": ((80.8, 4.3), (87.7, 1.7), (5.9, 2.4), (71, 23)),
        "DASH": ((93.9, 0.01), (91.4, 0.2), (4.3, 0.5), (178, 2)),
    },
}


def add_paper(results: Results, task: str) -> None:
    """The paper's numbers, in our units."""
    names = (("sparsity", 1e-2), ("balanced accuracy", 1e-2), ("test MSE", 1e-3), ("epochs", 1.0))
    for method, row in PAPER.get(task, {}).items():
        if results.value(task, method, "paper", "test MSE: sd") is None:
            for (score, unit), cell in zip(names, row, strict=True):
                if cell is not None:
                    results.add(task, method, "paper", score, cell[0] * unit)
                    results.add(task, method, "paper", f"{score}: sd", cell[1] * unit)
