"""The words of a page: of programs, what networks call edges are memberships of genes in sets."""

import re
from collections.abc import Mapping
from typing import Any

OF_PROGRAMS = (
    (r"\bedges between different genes\b", "memberships"),
    (r"\bedges\b", "memberships"),
    (r"\b([Aa])n edge\b", r"\1 membership"),  # with its article
    (r"\bedge\b", "membership"),
    (r"\bregulators\b", "programs"),
    (r"\bpairs scored\b", "memberships scored"),
    (r"\bover targets\b", "over genes"),
    (r"\bwhich targets\b", "which genes"),
)
PICTURES = re.compile(r'(src="[^"]*"|<svg.*?</svg>)', re.DOTALL)


def in_words_of(settings: Mapping[str, Any], html: str) -> str:
    """``html`` as it is for networks; for programs in their words, pictures and names of measures untouched."""
    if "gene_sets" not in settings:
        return html
    parts = PICTURES.split(html)
    for i in range(0, len(parts), 2):
        for network, program in OF_PROGRAMS:
            parts[i] = re.sub(network, program, parts[i])
    return "".join(parts)
