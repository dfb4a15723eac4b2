"""Build the site: ``python -m pyrogrn.experiments.site FOLDER``; a warning is an error."""

import argparse
import sys
from pathlib import Path

from .build import build


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m pyrogrn.experiments.site", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pages go")
    parser.add_argument("--no-pictures", action="store_true", help="leave the gallery's pictures out: seconds less")
    options = parser.parse_args()
    sys.exit(build(options.folder, pictures=not options.no_pictures))


if __name__ == "__main__":
    main()
