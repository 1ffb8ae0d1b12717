"""Start or join Ray for one CLI command.

Call `prepare` before Ray is first imported, `connect` after that.
"""

from __future__ import annotations

import logging
import os
import secrets
from importlib.util import find_spec

from touchstone_rewards.reward_server.errors import ConfigError


def prepare(asked_by: str) -> None:
    """Check that Ray is installed, and make the ports that it opens require a token.

    Raises:
        ConfigError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ConfigError(f"{asked_by} needs Ray: pip install '.[server,ray]' in the checkout")
    if not os.environ.get("RAY_ADDRESS"):
        # Ray's own ports are open to the network. It reads these variables when it is imported.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def connect() -> None:
    """Join the cluster of `RAY_ADDRESS`, or start one here that ends with this process."""
    import ray

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
