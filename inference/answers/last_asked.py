"""`LastAsked`: what a posterior was asked of cells last, and the answer."""

from collections.abc import Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

from ...models import ExpressionData

Answer = TypeVar("Answer")


class LastAsked(Generic[Answer]):
    """The last answer of each posterior to one question about cells: tables, exports and checks ask it one after
    another, of the same cells. Neither posteriors nor cells are kept alive by it.

    Answers are handed on as they are: who changes them in place copies them first.
    """

    def __init__(self) -> None:
        self._answers: WeakKeyDictionary[Any, tuple[ref[ExpressionData], tuple[Hashable, ...], Answer]]
        self._answers = WeakKeyDictionary()

    def known(self, posterior: Any, data: ExpressionData, *asked: Hashable) -> Answer | None:
        """The answer, if these cells, with all else that was ``asked``, were the last; the same object, not an equal
        one."""
        last = self._answers.get(posterior)
        if last is None or last[0]() is not data or last[1] != asked:
            return None
        return last[2]

    def keep(self, posterior: Any, data: ExpressionData, *asked: Hashable, answer: Answer) -> Answer:
        """The answer, which takes the place of the one before."""
        self._answers[posterior] = ref(data), asked, answer
        return answer
