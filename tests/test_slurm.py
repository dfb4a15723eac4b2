"""The job script of a SLURM cluster, without submitting it."""

import pytest
from pyrogrn.experiments.slurm import slurm_cluster

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is the extra `cluster`")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def no_global_state_changed():
    """Instead of the guard of all tests: Dask's own threads draw from Python's global generator all the time."""


def test_job_script_has_single_threads_and_the_prologue():
    with slurm_cluster(
        workers_per_job=3, memory_per_worker_gb=2, walltime="00:10:00", queue="short", prologue=["module load python"]
    ) as cluster:
        script = cluster.job_script()
    lines = script.splitlines()
    assert "#SBATCH -p short" in lines
    assert "#SBATCH -t 00:10:00" in lines
    assert "#SBATCH --cpus-per-task=3" in lines
    assert "export OMP_NUM_THREADS=1" in lines
    assert "module load python" in lines
    assert "--nthreads 1" in script
    assert "--nworkers 3" in script


def test_bad_sizes():
    with pytest.raises(ValueError, match="workers_per_job=0"):
        slurm_cluster(workers_per_job=0)
