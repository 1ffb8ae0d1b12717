"""Let all ranks fail together: if one stops alone, the others wait for it in a collective."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils import gather_object

from touchstone_rewards.trainer.errors import RunFailed


@contextmanager
def together() -> Iterator[None]:
    """Run code that may fail on one rank only, and fail on all ranks if it does.

    Without this, the other ranks would wait for the failed one in the next collective.

    Raises:
        RunFailed: the code failed on some rank; the message is that rank's.
    """
    own: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001  the rank's boundary: the others must be told
        own = error
    share(own)


def share(error: Exception | None) -> None:
    """Exchange errors between ranks; collective, so each rank must call it equally often.

    Raises:
        RunFailed: some rank reported an error; the message is that rank's.
    """
    said = [each for each in gather_object([error and f"{_kind(error)}{error}"]) if each]
    if said:
        raise RunFailed(said[0]) from error


def _kind(error: Exception) -> str:
    return "" if isinstance(error, RunFailed) else f"{type(error).__name__}: "
