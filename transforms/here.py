"""Values that stay in the process where they were made, between steps that Beam fuses."""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")


class Here(Generic[T]):
    """Pixels on their way from one step to the next, in one process.

    Beam pickles a sample of all elements, 10 of the first and 7 of each further doubling, only to
    learn their size: 20 ms for the pixels of a block, at each step, with the network at rest. The
    pickle of this holds nothing, and to open it is an error: pixels never cross a shuffle.

    Attributes:
      value: what is kept.
    """

    def __init__(self, value: T):
        self.value = value

    def __reduce__(self):
        return _opened, ()


def _opened() -> NoReturn:
    raise RuntimeError(
        "pixels were sent from one process to another; expected them to stay with the step that "
        "made them: use a runner that fuses steps"
    )
