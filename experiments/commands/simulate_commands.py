"""``pyrogrn simulate``: data with known truth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import LARGEST_SEED, say

simulate_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data with known truth.")


@simulate_app.command("linear")
def simulate_linear_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes, regulators included", min=1)] = 100,
    tfs: Annotated[int, typer.Option(help="Regulators", min=1)] = 20,
    cells: Annotated[int, typer.Option(help="Unperturbed cells", min=1)] = 1000,
    edge_probability: Annotated[float, typer.Option(help="Of each edge")] = 0.1,
    tf_correlation: Annotated[float, typer.Option(help="Between regulators' own variation")] = 0.0,
    contexts: Annotated[int, typer.Option(help="Contexts with related networks", min=1)] = 1,
    perturbed: Annotated[int, typer.Option(help="Regulators knocked out, 50 cells each", min=0)] = 0,
    prior_noise: Annotated[float, typer.Option(help="Share of the true edges at random places in prior.csv")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Cells from a random linear network: expression.h5ad, expression.csv.gz, tfs.csv, network.csv (the truth),
    prior.csv (the truth corrupted)."""
    from ...models.simulators import simulate_linear
    from ..files.simulation import write_simulation

    simulation = simulate_linear(
        num_genes=genes,
        num_tfs=tfs,
        num_cells=cells,
        edge_probability=edge_probability,
        tf_correlation=tf_correlation,
        num_contexts=contexts,
        num_perturbed=perturbed,
        seed=seed,
    )
    write_simulation(simulation, out, prior_noise=prior_noise, seed=seed)
    say(f"{simulation.data.num_cells} cells x {genes} genes, {len(simulation.network)} edges: {out}")


@simulate_app.command("panel")
def simulate_panel_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes; each may regulate every other", min=1)] = 100,
    in_degree: Annotated[float, typer.Option(help="Regulators of a gene, on average")] = 3.0,
    knocked_down: Annotated[float, typer.Option(help="Share of the genes that have a knock-down")] = 1.0,
    replicates: Annotated[int, typer.Option(help="Conditions of each knock-down", min=1)] = 1,
    contexts: Annotated[int, typer.Option(help="Contexts with related networks", min=1)] = 1,
    hidden: Annotated[int, typer.Option(help="Hidden inputs that conditions share", min=0)] = 0,
    noise: Annotated[float, typer.Option(help="Sd of the noise in the drive")] = 0.1,
    prior_noise: Annotated[float, typer.Option(help="Share of the true edges at random places in prior.csv")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Steady states of a knock-down panel (FactorBox): expression.h5ad and .csv.gz, tfs.csv, network.csv (the truth),
    prior.csv (the truth corrupted)."""
    from ...models.simulators import simulate_panel
    from ..files.simulation import write_simulation

    simulation = simulate_panel(
        num_genes=genes,
        in_degree=in_degree,
        knocked_down=knocked_down,
        replicates=replicates,
        num_contexts=contexts,
        num_hidden=hidden,
        drive_noise=noise,
        seed=seed,
    )
    write_simulation(simulation, out, prior_noise=prior_noise, seed=seed)
    say(f"{simulation.data.num_cells} conditions x {genes} genes, {len(simulation.network)} edges: {out}")


@simulate_app.command("ode")
def simulate_ode_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes; each may regulate every other", min=1)] = 50,
    in_degree: Annotated[float, typer.Option(help="Regulators of a gene, on average")] = 2.0,
    trajectories: Annotated[int, typer.Option(help="Time courses, each from a random start", min=1)] = 40,
    times: Annotated[str, typer.Option(help="TIME[,TIME...] of the measurements")] = "0,1,2,4,7",
    noise: Annotated[float, typer.Option(help="Sd of the measurements; levels are between 0 and 1")] = 0.02,
    prior_noise: Annotated[float, typer.Option(help="Share of the true edges at random places in prior.csv")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Time courses of a network (--method trajectory): expression.h5ad (time and trajectory in .obs) and .csv.gz,
    tfs.csv, network.csv (the truth), prior.csv (the truth corrupted)."""
    from ...models.simulators import simulate_courses
    from ..files.simulation import write_simulation

    try:
        clock = [float(t) for t in times.split(",")]
    except ValueError:
        raise ValueError(f"--times {times}: expected numbers separated by commas") from None
    simulation = simulate_courses(
        num_genes=genes, in_degree=in_degree, num_trajectories=trajectories, times=clock, noise=noise, seed=seed
    )
    write_simulation(simulation, out, prior_noise=prior_noise, seed=seed)
    say(f"{trajectories} trajectories of {len(clock)} times x {genes} genes, {len(simulation.network)} edges: {out}")


@simulate_app.command("ppca")
def simulate_ppca_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes", min=1)] = 200,
    cells: Annotated[int, typer.Option(help="Cells", min=1)] = 100,
    factors: Annotated[int, typer.Option(help="Programs, each with a normal loading on every gene", min=0)] = 2,
    noise_variance: Annotated[float, typer.Option(help="Of every gene")] = 0.5,
    shift: Annotated[
        float | None, typer.Option(help="Mean of every gene in the second half of the cells [default: one cluster]")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="How the cells of --shift are labelled in .obs: covariate, context or none [default: covariate]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Cells from probabilistic PCA, perhaps in two clusters: expression.h5ad (covariate cluster or group in .obs), and
    the truth, loadings.csv, scores.csv, covariate_effects.csv."""
    from ...models.simulators import simulate_ppca
    from ..files.simulation import write_factor_simulation

    if label is not None and shift is None:
        raise ValueError(f"--label {label} does nothing without --shift: name the shift of the cells it labels")
    simulation = simulate_ppca(
        num_genes=genes,
        num_cells=cells,
        num_factors=factors,
        noise_variance=noise_variance,
        shift=shift,
        label="covariate" if label is None else label,
        seed=seed,
    )
    write_factor_simulation(simulation, out)
    say(f"{cells} cells x {genes} genes, {factors} programs: {out}")


@simulate_app.command("muvi")
def simulate_muvi_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes", min=1)] = 500,
    cells: Annotated[int, typer.Option(help="Cells", min=1)] = 1000,
    sets: Annotated[int, typer.Option(help="Programs with a gene set", min=0)] = 10,
    set_size: Annotated[int, typer.Option(help="Genes in each program", min=1)] = 50,
    unlabelled: Annotated[int, typer.Option(help="Programs without a gene set", min=0)] = 0,
    hidden: Annotated[float, typer.Option(help="Share of each set's genes left out of gene_sets.gmt")] = 0.1,
    false: Annotated[float, typer.Option(help="Wrong genes added to each set, as a share of its size")] = 0.0,
    covariates: Annotated[int, typer.Option(help="Normal covariates in .obs: covariate_1, ...", min=0)] = 0,
    correlation: Annotated[float, typer.Option(help="Between program k and covariate k")] = 0.0,
    noise_variance: Annotated[float, typer.Option(help="Of Gaussian genes")] = 0.5,
    view: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=gaussian, bernoulli or negative-binomial; repeatable, genes are split evenly and several views "
            "are written as expression.h5mu [default: one gaussian view]"
        ),
    ] = None,
    missing: Annotated[float, typer.Option(help="Share of values missing at random")] = 0.0,
    groups: Annotated[int, typer.Option(help="Groups of cells with means of their own (group in .obs)", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Seed", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Cells from gene programs: expression.h5ad, gene_sets.gmt (with genes hidden and wrong ones added), and the truth,
    loadings.csv, scores.csv, true_sets.gmt, covariate_effects.csv."""
    from ...models.simulators import simulate_muvi
    from ..files.simulation import write_factor_simulation

    views = dict(entry.partition("=")[::2] for entry in view or [])
    if len(views) < len(view or []) or not all(views):
        raise ValueError(f"--view {' '.join(view or [])}: expected NAME=LIKELIHOOD, each name once")
    if correlation and not covariates:
        raise ValueError(f"--correlation {correlation:g} does nothing without --covariates: say how many there are")
    if false and not sets:
        raise ValueError(f"--false {false:g} does nothing without gene sets: pass --sets 1 or more")
    simulation = simulate_muvi(
        num_genes=genes,
        num_cells=cells,
        num_sets=sets,
        set_size=set_size,
        num_unlabelled=unlabelled,
        hidden=hidden,
        false=false,
        num_covariates=covariates,
        correlation=correlation,
        noise_variance=noise_variance,
        views=views or None,
        missing=missing,
        num_groups=groups,
        seed=seed,
    )
    write_factor_simulation(simulation, out)
    say(f"{cells} cells x {genes} genes, {sets} gene sets, {unlabelled} other programs: {out}")


@simulate_app.command("cytokines")
def simulate_cytokines_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int, typer.Option(help="Genes", min=1)] = 500,
    cells: Annotated[int, typer.Option(help="Cells, spread over types and treatments", min=1)] = 1000,
    cytokines: Annotated[int, typer.Option(help="Treatments beside the control, PBS", min=1)] = 6,
    types: Annotated[int, typer.Option(help="Cell types, with means of their own (group in .obs)", min=1)] = 3,
    programs: Annotated[int, typer.Option(help="Programs; each cytokine induces one or two", min=1)] = 5,
    program_size: Annotated[int, typer.Option(help="Genes of each program", min=1)] = 40,
    induced: Annotated[float, typer.Option(help="Shift of an induced program, in its sd")] = 1.5,
    direct: Annotated[float, typer.Option(help="Share of genes on which a cytokine acts directly")] = 0.02,
    seed: Annotated[int, typer.Option(help="Seed", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Counts of cells of several types, each given a cytokine or PBS: expression.h5ad (cytokine and group in .obs), and
    the truth, loadings.csv, scores.csv, covariate_effects.csv (direct), program_effects.csv (on programs)."""
    from ...models.simulators import simulate_cytokines
    from ..files.simulation import write_factor_simulation

    simulation = simulate_cytokines(
        num_genes=genes,
        num_cells=cells,
        num_cytokines=cytokines,
        num_types=types,
        num_programs=programs,
        program_size=program_size,
        induced=induced,
        direct=direct,
        seed=seed,
    )
    write_factor_simulation(simulation, out)
    say(f"{cells} cells of {types} types x {genes} genes, {cytokines} cytokines, {programs} programs: {out}")


@simulate_app.command("sergio")
def simulate_sergio_command(
    out: Annotated[Path, typer.Option(help="Folder to make")],
    genes: Annotated[int | None, typer.Option(help="Genes, regulators included [default: 100]", min=1)] = None,
    tfs: Annotated[int | None, typer.Option(help="Regulators [default: 10]", min=1)] = None,
    types: Annotated[int | None, typer.Option(help="Cell types [default: 5]", min=1)] = None,
    cells: Annotated[int, typer.Option(help="Cells of each type")] = 200,
    networks: Annotated[
        int | None, typer.Option(help="Networks, each in a subfolder when more than one [default: 1]")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Probability of an edge from a regulator to another gene [default: 0.1]")
    ] = None,
    hubs: Annotated[
        float | None, typer.Option(help="How unequal regulators are in number of targets: 0 alike, 1 hubs [default: 0]")
    ] = None,
    copying: Annotated[
        float | None, typer.Option(help="Share of genes that take the regulators of another gene [default: 0]")
    ] = None,
    repressive: Annotated[float | None, typer.Option(help="Share of repressing edges [default: 0.5]")] = None,
    decay: Annotated[
        float | None, typer.Option(help="Decay rate of every gene [default: 1, with --targets 0.8]")
    ] = None,
    gene_noise: Annotated[
        float | None, typer.Option(help="Noise amplitude of every gene [default: 0.1, with --targets 1]")
    ] = None,
    noise_type: Annotated[str, typer.Option(help="Noise of dpd: production and decay, sp: production, sd: decay")] = (
        "dpd"
    ),
    dropout: Annotated[
        float | None, typer.Option(help="Percentile of expression at which half of the values are lost [default: none]")
    ] = None,
    dropout_shape: Annotated[
        float | None, typer.Option(help="Steepness of --dropout in log expression [default: 6.5]")
    ] = None,
    library: Annotated[
        float | None, typer.Option(help="Mean of the log total of a cell [default: totals as they are]")
    ] = None,
    outliers: Annotated[
        float | None, typer.Option(help="Share of genes whose expression is multiplied by a factor [default: none]")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option(help="SERGIO's file of targets, with --regulators instead of a random network")
    ] = None,
    regulators: Annotated[Path | None, typer.Option(help="SERGIO's file of master regulators and their rates")] = None,
    hill: Annotated[
        float | None, typer.Option(help="Hill coefficient of every edge [default: 2, with --targets those of the file]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Single cells of several types from a regulatory network by SERGIO's stochastic equations: expression.h5ad
    (cell_type in .obs, layer clean), tfs.csv, network.csv (the truth) and SERGIO's input files. X are molecules, or
    Poisson counts with --dropout, --library or --outliers."""
    from ...models.simulators import RandomGRN, TechnicalNoise, read_sergio, simulate_sergio
    from ..files.simulation import write_sergio_simulation

    network: Any  # a family of networks, or the kinetics of one
    ranges = {"sparsity": sparsity, "hubs": hubs, "copying": copying, "repressive": repressive}
    of_random = {"genes": genes, "tfs": tfs, "types": types, "networks": networks} | ranges
    if (targets is None) != (regulators is None):
        raise ValueError(
            f"{'--regulators' if targets is None else '--targets'} alone: "
            "pass both of SERGIO's files, --targets and --regulators"
        )
    if dropout is None and dropout_shape is not None:
        raise ValueError("--dropout-shape without --dropout: pass the percentile of dropout too")
    for option, number in {"--cells": cells, "--networks": networks}.items():
        if number is not None and number < 1:
            raise ValueError(f"{option} {number}: expected at least 1")
    rates = {name: value for name, value in {"decay": decay, "noise": gene_noise}.items() if value is not None}
    if targets is not None and regulators is not None:
        wrong = [name for name, value in of_random.items() if value is not None]
        if wrong:
            raise ValueError(f"--{wrong[0]} does not go with --targets: it is for random networks")
        inputs = read_sergio(targets, regulators, hill=hill, **rates)
        network, names = inputs.kinetics, inputs.genes
    else:
        sizes: dict[str, Any] = {"num_genes": genes, "num_tfs": tfs, "num_types": types, "hill": hill}
        pairs: dict[str, Any] = {name: (value, value) for name, value in (ranges | rates).items() if value is not None}
        network, names = RandomGRN(**{k: v for k, v in sizes.items() if v is not None}, **pairs), None
    steps = {
        "dropout_percentile": dropout,
        "dropout_shape": dropout_shape,
        "library_mean": library,
        "outlier_probability": outliers,
    }
    chosen: dict[str, Any] = {name: value for name, value in steps.items() if value is not None}
    simulation = simulate_sergio(
        network,
        num_networks=networks or 1,
        num_cells=cells,
        noise_type=noise_type,
        noise=TechnicalNoise(**chosen) if chosen else None,
        genes=names,
        seed=seed,
    )
    write_sergio_simulation(simulation, out)
    number, kinds, each, width = simulation.clean.shape
    edges = int((simulation.kinetics.strength != 0).sum())
    of = f" in {number} networks" if number > 1 else ""
    say(f"{number * kinds * each} cells x {width} genes of {kinds} types, {edges} edges{of}: {out}")
