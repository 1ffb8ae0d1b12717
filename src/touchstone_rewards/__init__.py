"""The one name this project installs; the packages in it are the folders at the top.

Importing it loads none of them: the client's names below are loaded when they are first used.

Example:
    >>> from touchstone_rewards import RemoteRewardClient
    >>> RemoteRewardClient("http://127.0.0.1:8700").urls
    ['http://127.0.0.1:8700']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from touchstone_rewards.clients import (
        AsyncRemoteRewardClient,
        RemoteRewardClient,
        Sample,
        ScoreResult,
    )

__version__ = "0.2.0"
__all__ = ["AsyncRemoteRewardClient", "RemoteRewardClient", "Sample", "ScoreResult", "__version__"]


def __getattr__(name: str) -> Any:
    """Load a name of the client on first use, so that the bare import stays cheap (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from touchstone_rewards import clients

    return getattr(clients, name)
