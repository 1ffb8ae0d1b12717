"""All ranks fail together: one that ends by itself leaves the others waiting in a collective."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils import gather_object

from touchstone_rewards.trainer.errors import RunFailed


@contextmanager
def together() -> Iterator[None]:
    """Run what one rank alone may fail in, and fail on all of them if one does.

    A rank that ends by itself leaves the others waiting for it in the next collective.

    Raises:
        RunFailed: what one of them said.
    """
    own: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001  the rank's boundary: the others must hear of it
        own = error
    share(own)


def share(error: Exception | None) -> None:
    """Tell the other ranks how this one fared; each rank calls it equally often.

    Raises:
        RunFailed: what one of them said.
    """
    said = [each for each in gather_object([error and f"{_kind(error)}{error}"]) if each]
    if said:
        raise RunFailed(said[0]) from error


def _kind(error: Exception) -> str:
    return "" if isinstance(error, RunFailed) else f"{type(error).__name__}: "
