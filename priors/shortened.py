"""Names as messages show them."""

LONGEST_NAME = 60


def shortened(name: str, limit: int = LONGEST_NAME) -> str:
    """A name of more than ``limit`` characters without its middle."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 14]}...{name[-11:]}"
