"""Run all sections, or those named; each writes one tidy csv."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from . import (
    ablations,
    amortised,
    amortised_damage,
    amortised_paper,
    amortised_parts,
    amortised_protocol,
    calibration,
    cellbox,
    cellbox_length,
    cellbox_ridge,
    collaborative,
    contexts,
    contexts_outside,
    defaults,
    engine,
    engine_calibration,
    engine_command,
    engine_screens,
    evidence,
    factorbox_dream4,
    factorbox_measured,
    factorbox_orthogonal,
    factorbox_recovery,
    factorbox_speed,
    knockdowns,
    knockdowns_context,
    knockdowns_ridge,
    knockout_coverage,
    knowledge,
    ladder,
    ladder_others,
    links,
    phoenix,
    phoenix_posterior,
    phoenix_real,
    phoenix_speed,
    phoenix_table,
    program_data,
    program_intervals,
    programs,
    programs_poster,
    programs_size,
    responses,
    rivals,
    scale_out,
    sergio,
    speed,
    stability,
    trajectory,
    trial_maps,
    trial_networks,
    trial_parts,
    trial_runs,
    yeast,
)
from .edges import run_baselines, run_linear
from .provenance import write as write_provenance
from .results import Results

Section = Callable[[Path, Results], None]
SECTIONS: dict[str, Section] = {
    "speed": speed.run,
    "scale_out": scale_out.run,
    "engine": engine.run,
    "engine_calibration": engine_calibration.run,
    "engine_command": engine_command.run,
    "engine_screens": engine_screens.run,
    "calibration": calibration.run,
    "knowledge": knowledge.run,
    "ladder": ladder.run,
    "ladder_others": ladder_others.run,
    "links": links.run,
    "stability": stability.run,
    "collaborative": collaborative.run,
    "contexts": contexts.run,
    "contexts_outside": contexts_outside.run,
    "linear": run_linear,
    "baselines": run_baselines,
    "rivals": rivals.run,
    "sergio": sergio.run,
    "amortised_random": amortised.run_random,
    "amortised_sergio": amortised.run_sergio,
    "amortised_clean": amortised.run_clean_only,
    "amortised_protocol": amortised_protocol.run,
    "amortised_calibration": amortised.run_calibration,
    "amortised_logscore": amortised.run_log_score,
    "amortised_real": amortised.run_real,
    "amortised_replicates": amortised_paper.run_replicates,
    "amortised_beeline": amortised_paper.run_beeline,
    "amortised_losses": amortised_paper.run_losses,
    "amortised_speed": amortised.run_speed,
    "amortised_damage": amortised_damage.run,
    "amortised_parts": amortised_parts.run_parts,
    "amortised_svi": amortised_parts.run_svi,
    "cellbox": cellbox.run,
    "cellbox_length": cellbox_length.run,
    "cellbox_ridge": cellbox_ridge.run,
    "factorbox_speed": factorbox_speed.run,
    "factorbox_recovery": factorbox_recovery.run_recovery,
    "factorbox_dream4": factorbox_dream4.run_dream4,
    "factorbox_measured": factorbox_measured.run,
    "factorbox_orthogonal": factorbox_orthogonal.run,
    "knockdowns_unseen": knockdowns.run_unseen,
    "knockdowns_context": knockdowns_context.run,
    "responses": responses.run,
    "knockdowns_ridge": knockdowns_ridge.run,
    "knockout_coverage": knockout_coverage.run,
    "trajectory": trajectory.run,
    "trial_maps": trial_maps.run,
    "trial_networks": trial_networks.run,
    "trial_parts": trial_parts.run,
    "trial_runs": trial_runs.run,
    "phoenix": phoenix.run,
    "phoenix_table": phoenix_table.run,
    "phoenix_speed": phoenix_speed.run,
    "phoenix_posterior": phoenix_posterior.run,
    "phoenix_real": phoenix_real.run,
    "ablations": ablations.run,
    "evidence": evidence.run,
    "yeast": yeast.run,
    "programs_finding1": programs.run_finding1,
    "programs_toy": programs.run_toy,
    "programs_finding2": programs.run_finding2,
    "programs_poster": programs_poster.run,
    "programs_closed": programs.run_closed,
    "programs_speed": program_data.run_speed,
    "programs_repair": programs.run_repair,
    "programs_heldout": program_data.run_heldout,
    "programs_large": program_data.run_large,
    "programs_size": programs_size.run,
    "program_intervals": program_intervals.run,
    "defaults": defaults.run,
}


# from nothing within twenty minutes on one core: about eight by the seconds of their rows
QUICK = (
    "collaborative",
    "amortised_clean",
    "amortised_speed",
    "cellbox_length",
    "factorbox_orthogonal",
    "programs_toy",
    "programs_closed",
    "programs_speed",
    "programs_heldout",
)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "sections", nargs="*", help=f"of {', '.join(SECTIONS)}, or how the names of some begin; default all"
    )
    parser.add_argument("--data", type=Path, help="folder of benchmark data")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--quick", action="store_true", help=f"the sections {', '.join(QUICK)}: twenty minutes")
    parser.add_argument(
        "--missing", action="store_true", help="only those without a file in --out: to go on with a run of all"
    )
    parser.add_argument(
        "--anew", action="store_true", help="make again what another commit made; go on with what this one has"
    )
    parser.add_argument(
        "--provenance", action="store_true", help="run nothing; write which commit made each file of --out"
    )
    arguments = parser.parse_args()
    if arguments.provenance:
        print(write_provenance(SECTIONS, arguments.out))
        return
    if arguments.data is None:
        parser.error("the following arguments are required: --data")
    wanted = list(QUICK) if arguments.quick else arguments.sections or list(SECTIONS)
    unknown = [name for name in wanted if not any(section.startswith(name) for section in SECTIONS)]
    if unknown:
        parser.error(f"unknown sections {sorted(unknown)}: choose from {', '.join(SECTIONS)}")
    if not arguments.data.is_dir():
        parser.error(f"no folder {arguments.data}: the benchmarks need the data; nothing was run")
    torch.set_num_threads(1)
    for name in SECTIONS:
        if name not in wanted and not any(name.startswith(start) for start in wanted if start not in SECTIONS):
            continue
        file = arguments.out / f"{name}.csv"
        if (arguments.quick and name not in QUICK) or (arguments.missing and file.exists()):
            continue
        started, processor = time.perf_counter(), time.process_time()
        print(f"== {name}")
        SECTIONS[name](arguments.data, Results(file, anew=arguments.anew))
        print(f"== {name}: {time.perf_counter() - started:.0f} s, {time.process_time() - processor:.0f} s of processor")


if __name__ == "__main__":
    main()
