"""Many independent runs of one function: processes here or a Dask cluster, resumable, one failure does not lose the
rest."""

import hashlib
import json
import logging
import os
import pickle
import shutil
import sys
import tempfile
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib
import numpy as np
import torch
from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..inference.runs.orphans import watch_parent
from ..inference.runs.workers import startable
from .files.scratch import remove_abandoned
from .files.whole import whole_file
from .sweep_records import HASH, digest_of_result, read_record

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)
BACKENDS = ("loky", "serial", "dask")
IN_THIS_PROCESS = "use backend='serial'"
DEATH = "the worker process died (killed, crashed, or out of memory), also when the configuration ran alone"

Function = Callable[[dict[str, Any]], Any]


class SweepError(ValueError):
    """Some configurations failed; all others were run.

    Attributes
    ----------
    results
        What `sweep` would have returned, ``None`` in the place of those that failed.
    failures
        Place in ``configurations`` -> ``{"name", "error", "traceback"}``.
    """

    def __init__(self, message: str, results: list[Any], failures: dict[int, dict[str, str]]) -> None:
        super().__init__(message)
        self.results, self.failures = results, failures


def sweep(
    function: Function,
    configurations: Sequence[Mapping[str, Any]],
    *,
    out: Path | str | None = None,
    backend: str = "loky",
    jobs: int | None = None,
    progress: bool = False,
    client: "Client | None" = None,
    unkeyed: Sequence[str] = (),
) -> list[Any]:
    """``[function(c) for c in configurations]``, in parallel and resumable.

    A run depends on its configuration alone, seeds included, so results do not depend on the backend, the number of
    jobs, or which runs had been finished before. Each runs with one thread for linear algebra, which keeps the order of
    summation, hence the numbers, the same everywhere.

    Finished runs are kept in ``out`` as one file each, ``<hash of function and configuration>.json``, put in place in
    one move as soon as it is done: an interrupted sweep continues where it was, and what has a file is not run again.
    The hash covers the name of the function, not its code: after changing what it computes, use another folder. What
    another version of pyrogrn has written is run again.

    Parameters
    ----------
    function
        A function defined at the top level of a module or notebook that takes one configuration and returns plain
        values (numbers, text, lists, dicts with text as keys; numpy's are converted). Results are what JSON makes of
        them: tuples come back as lists, whether they were run now or read.
    configurations
        Plain values under text keys; equal ones are run once. A value under ``"name"`` is how messages call it.
    out
        Folder of the results; created. Default ``None``: nothing is kept.
    backend
        ``"loky"`` (default): processes of this machine; a worker that dies is replaced, and what it was running is run
        again alone, so that a configuration that kills its process fails by name. ``"serial"``: in this process.
        ``"dask"``: the workers of ``client``; Dask itself runs again what a lost worker held (up to its setting
        ``distributed.scheduler.allowed-failures``, 3). Results return to this process, which writes them: workers need
        no common file system.
    jobs
        Processes of ``"loky"``; default one for each processor this process may use.
    progress
        A bar on standard error, where that is a terminal; elsewhere a line every tenth of the way. Default False: the
        command line shows it.
    client
        A ``distributed.Client``; default the current one. Its workers must have one thread each: Pyro's parameters and
        torch's generator belong to the process.
    unkeyed
        Keys of the configurations that the hash leaves out, as paths and labels, which say nothing of the result.
        Default none.

    Returns
    -------
    list
        Results in the order of ``configurations``.

    Raises
    ------
    SweepError
        A ``ValueError``, after everything else has run: which configurations failed, and why. They are run again by the
        next call; ``<hash>.error.json`` has the traceback.
    ValueError
        A configuration that is not made of plain values, an unknown backend, a function that cannot be named, Dask
        without a client or with several threads in a worker.
    """
    check_backend(backend, jobs, client)
    name = _name_of(function)
    texts = [_canonical(configuration, i) for i, configuration in enumerate(configurations)]
    kept = [{k: v for k, v in configuration.items() if k not in unkeyed} for configuration in configurations]
    keyed = [_canonical(configuration, i) for i, configuration in enumerate(kept)] if unkeyed else texts
    keys = [hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:20] for text in keyed]
    plain = {key: json.loads(text) for key, text in zip(keys, texts, strict=True)}
    records = {} if out is None else _finished(Path(out), plain)
    todo = {key: configuration for key, configuration in plain.items() if key not in records}
    if len(records):
        logger.info("%d of %d configurations are finished in %s", len(records), len(plain), out)
    with tqdm(total=len(plain), initial=len(records), disable=None if progress else True) as bar:
        for record in _run(function, todo, backend, jobs, client):
            records[record["key"]] = record
            if out is not None:
                _write(Path(out), name, plain[record["key"]], record)
            bar.update()
            if progress and bar.disable:  # no terminal: hours without a word look like a run that hangs
                _tell(len(records), len(plain))
    return _collect(keys, plain, records, out)


def _tell(done: int, total: int) -> None:
    """A line every tenth of the way, as of a fit."""
    if 10 * done // total > 10 * (done - 1) // total:
        print(f"{done:,} of {total:,} runs", file=sys.stderr, flush=True)


def check_backend(backend: str, jobs: int | None, client: "Client | None") -> None:
    """Refuse a backend that does not exist, and jobs or a client that it does not take."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}: choose from {', '.join(BACKENDS)}")
    if jobs is not None and (backend != "loky" or jobs < 1):
        expected = "at least 1" if backend == "loky" else "none: only backend='loky' has jobs"
        raise ValueError(f"jobs={jobs} with backend={backend!r}, expected {expected}")
    if client is not None and backend != "dask":
        raise ValueError(f"a Dask client with backend={backend!r}: use backend='dask'")


def _name_of(function: Function) -> str:
    name = f"{getattr(function, '__module__', None)}.{getattr(function, '__qualname__', '<object>')}"
    if "<" in name:
        raise ValueError(
            f"{name} has no name of its own, which results are stored under: define the function at the top of a module"
        )
    return name


def _canonical(configuration: Mapping[str, Any], place: int) -> str:
    """One text for equal configurations."""
    try:
        if not all(isinstance(key, str) for key in configuration):
            raise TypeError("keys are not all text")
        return json.dumps(dict(configuration), sort_keys=True, allow_nan=False, default=_as_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"configuration {place} cannot be stored ({error}): use numbers, text, lists and dicts with text as keys"
        ) from error


def _as_plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} is neither a plain value nor a numpy array")


def label(configuration: Mapping[str, Any]) -> str:
    """How messages call a configuration: its ``"name"``, or its values."""
    text = str(configuration["name"]) if "name" in configuration else json.dumps(configuration)
    return text if len(text) <= 100 else text[:97] + "..."


# -- running ----
Record = dict[str, Any]


def run_one(function: Function, key: str, configuration: dict[str, Any]) -> Record:
    """One configuration: its key, the seconds it took, and the result, or the error and where it came from."""
    started = time.perf_counter()
    try:
        with _one_thread():
            result = function(configuration)
        outcome = {"result": json.loads(json.dumps(result, default=_as_plain))}
    except Exception as error:
        outcome = _failure(error)
    return {"key": key, "seconds": round(time.perf_counter() - started, 4), **outcome}


def run_packed(packed: bytes, key: str, configuration: dict[str, Any], markers: str | None = None) -> Record:
    """`run_one` in another process. While it runs, a file named ``key`` is in ``markers``.

    The function comes as bytes: unpacked by Dask or loky before they call, one that cannot be imported here would stop
    the worker instead of being an error with a name.
    """
    marker = None if markers is None else Path(markers, key)
    if marker is not None:
        marker.touch()
    try:
        function = pickle.loads(packed)
    except Exception as error:
        record = {"key": key, "seconds": 0.0, **_failure(error)}
    else:
        record = run_one(function, key, configuration)
    if marker is not None:
        marker.unlink()
    return record


def _failure(error: BaseException) -> dict[str, str]:
    message = (str(error).splitlines() or [""])[0]
    lines = traceback.format_exception(error)
    return {"error": f"{type(error).__name__}: {message}", "traceback": "".join(lines)}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


Tasks = list[tuple[bytes, str, dict[str, Any]]]


def _run(
    function: Function, todo: Mapping[str, dict[str, Any]], backend: str, jobs: int | None, client: "Client | None"
) -> Iterator[Record]:
    """Records, in the order in which they are done."""
    if backend == "serial":
        yield from (run_one(function, key, configuration) for key, configuration in todo.items())
        return
    dask = dask_client(client) if backend == "dask" else None
    packed = cloudpickle.dumps(function)
    tasks = [(packed, key, configuration) for key, configuration in todo.items()]
    if tasks:
        yield from _run_processes(tasks, jobs or joblib.cpu_count()) if dask is None else _run_dask(tasks, dask)


def _run_processes(tasks: Tasks, jobs: int) -> Iterator[Record]:
    """Processes by joblib. When one dies, joblib gives up all it had been given: whatever was running then is run again
    alone, which shows whether it was the one, and the rest together."""
    pending = {task[1]: task for task in tasks}
    with startable(IN_THIS_PROCESS):
        markers, barren = tempfile.mkdtemp(prefix="sweep-"), 0
    resource_tracker.register(markers, "folder")  # a process of joblib's that removes it if this one is killed
    try:
        while pending:
            before = len(pending)
            try:
                for record in _processes(list(pending.values()), jobs, markers):
                    del pending[record["key"]]
                    yield record
            except TerminatedWorkerError as error:
                suspects = [key for key in pending if Path(markers, key).exists()]
                barren = 0 if suspects or len(pending) < before else barren + 1
                if barren == 3:
                    raise ValueError(
                        f"worker processes died three times before they ran anything ({type(error).__name__}): check "
                        "the memory, or use backend='serial' to see what happens"
                    ) from error
                logger.warning("a worker process died; running %d configurations again, one by one", len(suspects))
                for key in suspects:
                    yield _run_alone(pending.pop(key), markers)
    finally:
        shutil.rmtree(markers, ignore_errors=True)
        resource_tracker.unregister(markers, "folder")


def _processes(tasks: Tasks, jobs: int, markers: str) -> Iterator[Record]:
    # two workers at least: with one, joblib would run the tasks in this process, and a crash would end the sweep
    parallel = joblib.Parallel(
        n_jobs=max(jobs, 2),
        backend="loky",
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=1 if jobs == 1 else "2*n_jobs",
        initializer=watch_parent,
        initargs=(os.getpid(),),
    )
    with startable(IN_THIS_PROCESS):
        records = parallel(joblib.delayed(run_packed)(*task, markers) for task in tasks)
    try:
        for record in records:  # noqa: UP028 - `yield from` would hand on that nobody asks for more
            yield record
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that tasks were cancelled is what is wanted
            records.close()


def _run_alone(task: tuple[bytes, str, dict[str, Any]], markers: str) -> Record:
    try:
        return next(iter(_processes([task], 1, markers)))
    except TerminatedWorkerError:
        return {"key": task[1], "error": f"WorkerDied: {DEATH}", "traceback": "", "seconds": float("nan")}


def dask_client(client: "Client | None") -> "Client":
    """``client`` or the current one, checked: Dask is there, workers have one thread each and can import this."""
    try:
        from distributed import get_client, wait
    except ImportError as error:
        raise ValueError("backend='dask' needs Dask: install pyrogrn[cluster], or use backend='loky'") from error
    if client is None:
        try:
            client = get_client()
        except ValueError as error:
            raise ValueError("backend='dask' without a client: pass client=distributed.Client(...)") from error
    several = [address for address, threads in client.nthreads().items() if threads > 1]
    if several:
        raise ValueError(
            f"{len(several)} Dask workers have several threads ({several[0]}): start them with one thread each "
            "(threads_per_worker=1, --nthreads 1), torch's generator and Pyro's parameters belong to the process"
        )
    # a worker that cannot read its task is not an error to Dask: it would wait for ever
    probe = client.submit(import_module, __name__, pure=False)
    wait(probe)
    if probe.status != "finished":
        raise ValueError(
            f"Dask workers cannot import {__name__} ({probe.exception()}): install the same pyrogrn where they run"
        )
    return client


def _run_dask(tasks: Tasks, client: "Client") -> Iterator[Record]:
    from distributed import as_completed, wait

    run = uuid.uuid4().hex[:8]  # Dask gives back what it holds under a name: a second sweep must not meet the first
    by_key = {task[1]: task for task in tasks}
    submit = lambda key, turn: client.submit(run_packed, *by_key[key], key=f"sweep-{run}-{turn}-{key}", pure=False)
    futures = {submit(key, 0): key for key in by_key}
    suspects = []
    try:
        for future in as_completed(list(futures)):
            key = futures.pop(future)
            if future.status == "finished":
                yield future.result()
            elif future.status == "error":  # the run itself reports its errors: this is Dask's, a worker lost each time
                suspects.append(key)
            else:
                raise ValueError(
                    f"Dask lost {len(futures) + 1} configurations ({future.status}): is the scheduler running? "
                    "Run again to continue"
                )
            future.release()
        for key in suspects:  # one by one: the one that takes workers down is told from those that shared them
            again = submit(key, 1)
            futures[again] = key
            wait([again])
            failed = again.status == "error"
            yield {"key": key, "seconds": float("nan"), **_failure(again.exception())} if failed else again.result()
            del futures[again]
    finally:
        client.cancel(list(futures))


# -- results on disk ----
def _finished(out: Path, plain: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Records of the configurations that have a file, written by this version."""
    from ..inference.draws.description import package_version  # here: workers start faster without Pyro

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror or error}. Choose another folder") from error
    records, stale = {}, set()
    for key in plain:
        path = out / f"{key}.json"
        if not path.exists():
            continue
        record, version = read_record(path, key)
        if version == package_version():
            records[key] = record
        else:
            stale.add(version)
    for key in plain:
        remove_abandoned(out / f"{key}.json")
    if stale:
        logger.warning("%s has runs of pyrogrn %s, this is %s: running them again", out, stale, package_version())
    return records


def _write(out: Path, name: str, configuration: dict[str, Any], record: dict[str, Any]) -> None:
    from ..inference.draws.description import package_version  # here: workers start faster without Pyro

    failed = "error" in record
    content = {"function": name, "configuration": configuration, "pyrogrn": package_version()}
    content |= {key: value for key, value in record.items() if key != "key"}
    if not failed:
        content[HASH] = digest_of_result(record["result"])
    path, error_path = out / f"{record['key']}.json", out / f"{record['key']}.error.json"
    with whole_file(error_path if failed else path) as place:
        place.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if not failed:
        error_path.unlink(missing_ok=True)


def _collect(
    keys: Sequence[str], plain: Mapping[str, dict[str, Any]], records: Mapping[str, dict[str, Any]], out: Any
) -> list[Any]:
    results = [records[key].get("result") for key in keys]
    failures = {
        i: {"name": label(plain[key]), "error": records[key]["error"], "traceback": records[key]["traceback"]}
        for i, key in enumerate(keys)
        if "error" in records[key]
    }
    if failures:
        named = "; ".join(f"{failure['name']}: {failure['error']}" for failure in list(failures.values())[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        kept = f"the others are kept in {out}; " if out is not None else ""
        raise SweepError(
            f"{len(failures)} of {len(keys)} configurations failed ({named}{more}): {kept}run again to repeat those",
            results,
            failures,
        )
    return results
