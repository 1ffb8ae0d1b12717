"""Configuration shared by all scorers behind an endpoint: address, key and limits."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.addresses import EndpointUrl, KeyVariable, urls_of
from touchstone_rewards.reward_server.remote.admission import Proof
from touchstone_rewards.reward_server.remote.keys import read_key
from touchstone_rewards.reward_server.remote.transport import Endpoints, UpstreamTransport
from touchstone_rewards.reward_server.scorers.rules.rule import RuleConfig


class EndpointConfig(RuleConfig):
    """Config keys shared by all remote scorers."""

    url: EndpointUrl
    key_env: KeyVariable = None
    key_file: str | None = Field(default=None, description="file with the API key")
    timeout_s: float = Field(default=60.0, gt=0, description="limit per attempt")
    max_in_flight: int = Field(default=64, ge=1, description="samples in progress at a time")
    requests_per_s: float | None = Field(
        default=None, gt=0, description="limit on requests per second"
    )

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("set key_env or key_file, not both")
        return self


def transport_to(
    config: EndpointConfig, path: str, proof: Proof | None = None
) -> UpstreamTransport:
    """Return a transport to `path` on the endpoints of a config.

    Raises:
        ValueError: the key cannot be read.
    """
    endpoints = Endpoints(
        urls_of(config.url, path),
        read_key(config.key_env, config.key_file),
        timeout_s=config.timeout_s,
        requests_per_s=config.requests_per_s,
    )
    return UpstreamTransport(endpoints, proof)
