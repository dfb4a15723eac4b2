"""Write docs/results/*.md and the results table of the README from experiments/results/*.csv."""

from .write import HERE, write


def main() -> None:
    """Write what is stale, and name it."""
    for page in write():
        print(page.relative_to(HERE))


if __name__ == "__main__":
    main()
