"""Options that are numbers: finite ones, asked of every command in one place."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any


def with_finite_numbers(command: Any) -> Any:
    """``command`` and the commands below it, refusing ``nan`` and ``inf`` for any option: no option of any command
    means something there, and what they do would come to light in the middle of a run."""
    for below in getattr(command, "commands", {}).values():
        with_finite_numbers(below)
    if command.callback is not None:
        command.callback = _checked(command.callback, {option.name: option.opts[0] for option in command.params})
    return command


def _checked(callback: Callable[..., Any], options: dict[str, str]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def finite(*arguments: Any, **given: Any) -> Any:
        for name, value in given.items():
            for number in value if isinstance(value, Sequence) and not isinstance(value, str) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{options.get(name, name)} {number}: expected a finite number")
        return callback(*arguments, **given)

    return finite
