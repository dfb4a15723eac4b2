"""A Dask cluster on SLURM for `sweep` and `chunked_statistics`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster


def slurm_cluster(
    *,
    workers_per_job: int = 8,
    memory_per_worker_gb: float = 4.0,
    walltime: str = "02:00:00",
    queue: str | None = None,
    account: str | None = None,
    prologue: Sequence[str] = (),
) -> "SLURMCluster":
    """Workers as SLURM jobs, each worker a process with one thread; nothing is submitted until ``scale``.

    ::

        with slurm_cluster(prologue=["source ~/venv/bin/activate"]) as cluster, Client(cluster) as client:
            cluster.scale(jobs=20)  # 160 workers; cluster.job_script() shows what is submitted
            sweep(run, configurations, out="results", backend="dask", client=client)

    Jobs that end at their wall time lose no finished run, and what they held is run elsewhere. `sweep` writes results
    where it is called, so only that process needs the folder.

    Parameters
    ----------
    workers_per_job
        Processes, and cores, of one job. Default 8, half of a small node.
    memory_per_worker_gb
        Memory of each. Default 4: importing takes 0.5.
    walltime
        Of a job, ``hours:minutes:seconds``. Default two hours.
    queue, account
        SLURM's partition and account; default those of the user.
    prologue
        Shell lines that run first in a job, such as activating the environment.

    Raises
    ------
    ValueError
        dask-jobqueue is not installed, no worker, no memory.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ValueError("SLURM jobs need dask-jobqueue: install pyrogrn[cluster]") from error
    if workers_per_job < 1 or memory_per_worker_gb <= 0:
        raise ValueError(
            f"workers_per_job={workers_per_job}, memory_per_worker_gb={memory_per_worker_gb}: expected at least one "
            "worker, with memory"
        )
    # one thread for linear algebra from the start: libraries read these when they are imported
    threads = [f"export {name}=1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
    return SLURMCluster(
        cores=workers_per_job,
        processes=workers_per_job,
        memory=f"{round(1000 * workers_per_job * memory_per_worker_gb)}MB",
        walltime=walltime,
        queue=queue,
        account=account,
        job_script_prologue=[*threads, *prologue],
        n_workers=0,
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
    )
