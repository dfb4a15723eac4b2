"""Names of contexts and cell types as names of files."""

from collections.abc import Iterable

LONGEST = 120  # bytes of a name that becomes part of a file's; systems allow 255, the rest is for what stands around it


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as part of a file's name, all different, also where letters do not distinguish capitals.

    Letters, digits, ``-``, ``_`` and ``.`` stay, others become ``_``; long names are cut; what would be the same gets a
    number.

    Examples
    --------
    >>> file_names(["a/b", "a_b", "A_B"])
    {'a/b': 'a_b', 'a_b': 'a_b-2', 'A_B': 'A_B-3'}
    """
    taken: set[str] = set()
    result = {}
    for name in names:
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name) or "_"
        while len(plain.encode()) > LONGEST:
            plain = plain[:-1]
        number, chosen = 1, plain
        while chosen.lower() in taken:
            number += 1
            chosen = f"{plain}-{number}"
        taken.add(chosen.lower())
        result[name] = chosen
    return result
