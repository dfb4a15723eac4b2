"""`Cluster`: functions run by the workers of a Dask cluster, and what is said when it goes away."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client, Future

ALONE = 60.0  # seconds without any worker, after which none is waited for
OFTEN = 1.0  # seconds between looks at the workers


class ClusterLost(ValueError):
    """The cluster is no longer there, in one line."""


class Cluster:
    """A ``distributed.Client`` as the sampler uses it.

    Parameters
    ----------
    client
        Whose workers have one thread each: what is computed does then not depend on how many there are.

    Raises
    ------
    ValueError
        Workers with several threads.
    """

    def __init__(self, client: "Client") -> None:
        several = [address for address, threads in client.nthreads().items() if threads > 1]
        if several:
            raise ValueError(
                f"{len(several)} Dask workers have several threads ({several[0]}): start them with one thread each "
                "(threads_per_worker=1)"
            )
        self.client = client

    def submit(self, function: Callable[..., Any], *given: Any) -> "Future":
        """A task of its own, made again where the worker that had its result dies."""
        with warnings.catch_warnings():
            # statistics are part of the task on purpose: what was sent beside it could not be made again
            warnings.filterwarnings("ignore", message="Sending large graph")
            return self.client.submit(function, *given, pure=False)

    def gather(self, futures: "Sequence[Future]") -> list[Any]:
        """Their results, in order.

        Raises
        ------
        ClusterLost
            The scheduler or every worker has gone, or a task has taken down several workers.
        """
        from distributed import wait

        seen = time.monotonic()
        try:
            while True:
                try:
                    wait(list(futures), timeout=OFTEN)
                    return list(self.client.gather(list(futures)))
                except TimeoutError:
                    seen = time.monotonic() if self.client.nthreads() else seen
                    if time.monotonic() - seen > ALONE:
                        raise ClusterLost(f"no Dask worker is left for {ALONE:.0f} s: {AGAIN}") from None
        except ClusterLost:
            raise
        except (ValueError, MemoryError):  # of the task itself
            raise
        except Exception as error:
            what = str(error).partition("\n")[0]
            raise ClusterLost(f"the Dask cluster was lost ({type(error).__name__}: {what}): {AGAIN}") from error


AGAIN = "the last checkpoint stands, resume it, with or without a client"
