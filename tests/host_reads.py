"""What would stop a device in the middle of a step: values that Python reads, and sizes that depend on values."""

import traceback
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = str(Path(__file__).resolve().parents[1])
READS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "equal"}
METHODS = ("tolist", "numpy", "cpu")


class HostReads(TorchDispatchMode):
    """Counts them by the line of the package that asked; of others by the file."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        by_mask = name == "index" and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if name in READS or by_mask:
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, name):
        stack = [f for f in traceback.extract_stack() if "tests" not in f.filename and "torch" not in f.filename]
        own = [f for f in stack if f.filename.startswith(ROOT)]
        frame = own[-1] if own else stack[-1]
        self.found[f"{name} at {frame.filename.removeprefix(ROOT + '/')}:{frame.name}"] += 1


@contextmanager
def host_reads():
    """The reads of a block, as a `Counter`."""
    mode, kept = HostReads(), {name: getattr(torch.Tensor, name) for name in METHODS}

    def watched(name):
        def method(self, *args, **kwargs):
            mode.note(name)
            return kept[name](self, *args, **kwargs)

        return method

    for name in METHODS:
        setattr(torch.Tensor, name, watched(name))
    try:
        with mode:
            yield mode.found
    finally:
        for name, method in kept.items():
            setattr(torch.Tensor, name, method)
