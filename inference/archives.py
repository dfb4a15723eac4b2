"""Archives of arrays (npz) as they were written: nothing is allocated that the file does not hold, and a file that was
changed since is known by its hash."""

import hashlib
import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

BLOCK = 1 << 20


def read_arrays(stream: IO[bytes]) -> dict[str, np.ndarray]:
    """Every array of an npz, by name.

    Raises
    ------
    ValueError
        An array says that it is larger than what is stored of it, before memory is asked for it; what numpy, zipfile
        and zlib raise of a damaged file comes as it is.
    """
    check_claims(stream)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def check_claims(stream: IO[bytes]) -> None:
    """The arrays of an npz are as large as their headers say.

    Raises
    ------
    ValueError
        Which is not.
    """
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            with archive.open(member) as part:
                version = np.lib.format.read_magic(part)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(part)
            claimed = math.prod(shape) * kind.itemsize
            if claimed > member.file_size:
                raise ValueError(
                    f"{member.filename} says it has the shape {shape}, {claimed / 1e9:.3g} GB, and "
                    f"{member.file_size} bytes are stored of it"
                )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
