"""``python -m pyrogrn``: the command line."""

from .experiments.entry import main

if __name__ == "__main__":
    main()
