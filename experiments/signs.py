"""What a regulator does to a target, as a word."""


def sign_word(weight: float) -> str:
    """By the sign of the effect; an effect of exactly zero, as pruning leaves it, has none.

    Examples
    --------
    >>> [sign_word(weight) for weight in (0.3, -0.3, 0.0)]
    ['activates', 'represses', 'no effect']
    """
    return "no effect" if weight == 0 else "activates" if weight > 0 else "represses"
