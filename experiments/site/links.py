"""Links between pages of the repository as links between pages of the site."""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

LINK = re.compile(r"(?<!\!)\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
HOME = {"README.md": "index.md"}  # the first page


def site_page(file: str) -> str:
    """Where a page of the repository is on the site: ``README.md`` first, those under ``docs`` at the top."""
    return HOME.get(file, file.removeprefix("docs/"))


def is_page(file: str) -> bool:
    """Whether a file of the repository is a page of the site by itself: Markdown, other than templates."""
    return file.endswith(".md") and "/templates/" not in file


def source_page(file: str) -> str:
    """The page of the site that shows a file, or lists a folder, of the repository."""
    return f"source/{file}.md"


def with_site_links(text: str, page: str, root: Path, shown: Callable[[str], None]) -> str:
    """A page of the repository with its links turned into links of the site.

    Parameters
    ----------
    text
        Markdown.
    page
        Its path from the root of the repository.
    root
        Of the repository.
    shown
        Is told of each file that is no page, and needs one that shows it.

    Raises
    ------
    ValueError
        A link to a file that is not there.
    """

    def turned(found: re.Match[str]) -> str:
        link = found.group(1)
        path, mark, heading = link.partition("#")
        if link.startswith(("http:", "https:", "mailto:")) or not path:
            return found.group(0)
        target = (root / PurePosixPath(page).parent / path).resolve()
        if not target.exists():
            raise ValueError(f"{page}: the link {link} leads nowhere")
        file = target.relative_to(root.resolve()).as_posix()
        if is_page(file):
            goal = site_page(file)
        else:
            shown(file)
            goal = source_page(file)
        return f"]({_relative(goal, site_page(page))}{mark}{heading})"

    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(turned, part) for part in parts[::2]]  # what is code stays as it is
    return "".join(parts)


def _relative(goal: str, page: str) -> str:
    return PurePosixPath(_up(goal, str(PurePosixPath(page).parent))).as_posix()


def _up(goal: str, folder: str) -> str:
    """``goal`` as seen from ``folder``, both from the top of the site."""
    if folder == ".":
        return goal
    here, there = folder.split("/"), goal.split("/")
    while here and len(there) > 1 and here[0] == there[0]:
        here, there = here[1:], there[1:]
    return "/".join([".."] * len(here) + there)
