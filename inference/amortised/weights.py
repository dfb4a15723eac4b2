"""Trained weights: numbers, how they came about, and a hash that says they are what they were."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..archives import read_arrays
from .evidence import CHANNELS
from .knowledge import PRIOR_CHANNELS
from .network import READS, AmortisedNetwork
from .novelty import FEATURES

FORMAT = 2  # 1: prior knowledge was not among the channels named
SHIPPED = files(__package__) / "trained"


def save_weights(network: AmortisedNetwork, path: Path, about: dict[str, Any]) -> str:
    """Write one ``.npz`` with every number and a description; return the hash of both.

    ``about``: the command, simulator settings, seed, and scores on fresh simulations.
    """
    arrays = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    description = {
        "format": FORMAT,
        "kind": network.kind,
        "options": network.options,
        "channels": [*CHANNELS, *PRIOR_CHANNELS],
    }
    text = json.dumps({**description, "about": about}, sort_keys=True)
    digest = _digest(arrays, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(path.name + ".part")
    try:
        with open(waiting, "wb") as stream:
            np.savez_compressed(stream, **arrays, description=np.array(text), sha256=np.array(digest))
        waiting.replace(path)
    finally:
        waiting.unlink(missing_ok=True)
    return digest


def load_weights(which: str | Path, *, reads: str | None = None) -> tuple[AmortisedNetwork, dict[str, Any]]:
    """A trained network and its description (with ``sha256``): a name of `shipped`, or a file that ``pyrogrn train``
    wrote.

    Parameters
    ----------
    which
        A name or a file.
    reads
        What the probabilities are to be read off, of `network.READS`. Each is a training of its own: of a name in the
        package ``NAME-unrolled`` or ``NAME-evidence`` is taken, a file must have been trained so. Default: whatever
        ``which`` was trained to read.

    Raises
    ------
    ValueError
        An unknown name or ``reads``, a file that is not one, was changed since, belongs to another version, or reads
        something else.
    """
    known = shipped()
    which = _part(which, reads, known)
    if str(which) in known:
        source = SHIPPED / f"{which}.npz"
        with source.open("rb") as stream:
            content, text, digest = _read(stream, str(which))
        if digest != known[str(which)]:
            raise ValueError(
                f"the shipped weights {which!r} were changed (their hash is not the recorded one): reinstall"
            )
    else:
        path = Path(which)
        if not path.is_file():
            raise ValueError(
                f"no trained weights {str(which)!r}: expected one of {sorted(known)}, or a file of pyrogrn train"
            )
        with path.open("rb") as stream:
            content, text, digest = _read(stream, str(path))
    channels = [*CHANNELS, *PRIOR_CHANNELS]
    try:
        description = json.loads(text)
        found = f"format {description.get('format')}, {len(description.get('channels', []))} channels"
        if description["format"] != FORMAT or description["channels"] != channels:
            raise ValueError(found)
        float(description["about"]["scores"]["ece"])  # reports quote it
        with torch.random.fork_rng(devices=[]):  # random numbers, until the stored ones replace them
            network = AmortisedNetwork(description["kind"], **description["options"])
        content.setdefault("worlds", np.zeros((0, len(FEATURES)), np.float16))  # earlier versions kept none
        network.worlds = network.worlds.new_zeros(len(content["worlds"]), len(FEATURES))
        network.load_state_dict({name: torch.as_tensor(value) for name, value in content.items()})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the weights {str(which)!r} belong to another version ({reason}; this one reads format {FORMAT} with "
            f"{len(channels)} channels): train them again with pyrogrn train"
        ) from error
    if reads is not None and network.reads != reads:
        raise ValueError(
            f"the weights {str(which)!r} read {network.reads!r}, not {reads!r}: train others with pyrogrn train "
            f"{network.kind}, `reads=` {reads}"
        )
    network.eval().requires_grad_(False)
    return network, {**description, "sha256": digest}


def _part(which: str | Path, reads: str | None, known: dict[str, str]) -> str | Path:
    """The weights in the package that read only ``reads``, where ``which`` names some."""
    if reads is not None and reads not in READS:
        raise ValueError(f"reads is {reads!r}, expected one of {READS}")
    if str(which) not in known or reads in (None, "both"):
        return which
    part = f"{which}-{reads}"
    if part in known:
        return part
    ending = f"-{reads}"
    if str(which).endswith(ending):
        return which
    there = [name.removesuffix(ending) for name in known if name.endswith(ending)]
    raise ValueError(
        f"no weights of {str(which)!r} that read {reads!r} are shipped, only of {there}: choose one of these, or train "
        f"them with pyrogrn train, `reads=` {reads}"
    )


def shipped() -> dict[str, str]:
    """Names and hashes of the weights in the package."""
    record: dict[str, str] = json.loads((SHIPPED / "sha256.json").read_text())
    return record


def _read(stream: Any, name: str) -> tuple[dict[str, np.ndarray], str, str]:
    try:
        content = read_arrays(stream)
        text, digest = str(content.pop("description")), str(content.pop("sha256"))
    except Exception as error:  # numpy, zipfile and zlib meet damage with errors of ten kinds
        raise ValueError(f"{name} is no file of trained weights: expected one that pyrogrn train wrote") from error
    if _digest(content, text) != digest:
        raise ValueError(f"{name} was changed after it was written (its hash does not fit): train again, or reinstall")
    return content, text, digest


def _digest(arrays: dict[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
