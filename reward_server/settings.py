"""The server's settings: YAML file, then `REWARD_*` environment, then command line; the later wins.

An unknown key in the file or on the command line is an error that names it. The environment may
hold variables of other programs, so only the names of settings are read there.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from touchstone_rewards.reward_server.addresses import KeyVariable, check_url
from touchstone_rewards.reward_server.complaints import describe, on_one_line
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.config import EmbeddingConfig, ModelConfig
from touchstone_rewards.reward_server.profiles import NEURAL_DIR, fetched_dirs
from touchstone_rewards.reward_server.schemas import is_object
from touchstone_rewards.reward_server.scorers.plugins import Plugins

ENV_PREFIX = "REWARD_"
# Read by the clients and by this module; they may be set in the same environment.
OTHER_VARIABLES = {"REWARD_URL", "REWARD_CA_FILE", "REWARD_CONFIG"}

# Variables that Kubernetes and Docker links set for each service, beside its address.
_SERVICE_VARIABLE = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")

HASHED = "sha256:"
LEAST_WORKER_BYTES = 2**27

logger = logging.getLogger(__name__)


class ApiKey(BaseModel):
    """A key, plain or as `sha256:` and its hash in hex, and the rights and limits of its owner."""

    model_config = ConfigDict(extra="forbid")

    key: SecretStr = Field(min_length=1)
    role: Literal["score", "admin"] = "score"
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_pending_samples: int | None = Field(default=None, ge=1)
    samples_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @field_validator("key")
    @classmethod
    def _refuse_a_hash_that_is_none(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if text.startswith(HASHED) and not re.fullmatch(HASHED + "[0-9a-fA-F]{64}", text):
            raise ValueError("expected sha256: and 64 hex digits, as `sha256sum` prints them")
        return key

    @property
    def digest(self) -> bytes:
        text = self.key.get_secret_value()
        if text.startswith(HASHED):
            return bytes.fromhex(text.removeprefix(HASHED))
        return hashlib.sha256(text.encode()).digest()


def _as_mapping(value: Any) -> Any:
    return value if isinstance(value, ApiKey) or is_object(value) else {"key": str(value)}


def _as_names(value: Any) -> Any:
    """Split a comma-separated value of the environment or the command line into names."""
    if not isinstance(value, str):
        return value
    return [name.strip() for name in value.split(",") if name.strip()]


Names = Annotated[list[str], NoDecode, BeforeValidator(_as_names)]


class Settings(BaseSettings):
    """The operator's settings. Names of sizes, times and counts include the unit."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", env_ignore_empty=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=8700, ge=0, le=65535, description="port to listen on; 0: any free one"
    )
    api_key: SecretStr | None = Field(default=None, description="the key that callers must send")
    admin_key: SecretStr | None = Field(
        default=None, description="a key that also reloads profiles and exchanges models"
    )
    api_keys: list[Annotated[ApiKey, BeforeValidator(_as_mapping)]] = Field(
        default=[], description="more keys, one per caller, each with name and limits"
    )
    allowed_hosts: Names = Field(
        default=[], description="host names accepted by a server without a key"
    )
    insecure: bool = Field(default=False, description="listen beyond loopback without a key")
    profiles_dir: Path | None = Field(
        default=None, description="directory of your own profiles (*.yaml)"
    )
    scorer_modules: Names = Field(
        default=[], description="Python modules that profiles may use scorers from, by commas"
    )
    plugins_dir: Path | None = Field(
        default=None, description="folder of Python modules that profiles may use scorers from"
    )
    reload_s: float = Field(
        default=0.0, ge=0, description="seconds between checks for changed profiles; 0: never"
    )
    state_dir: Path | None = Field(
        default=None, description="folder that keeps running normalization across restarts"
    )
    neural_profiles: bool = Field(
        default=False, description="also serve the built-in profiles that need a model"
    )
    embedding_model: str | None = Field(
        default=None, description="model that POST /embed serves even if no profile uses it"
    )
    model_loading: bool = Field(
        default=False, description="let admin keys load and unload models while the server runs"
    )
    models_dir: Path | None = Field(
        default=None, description="folder that must contain models loaded at run time"
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="processes that serve the port as one server"
    )
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="killable worker processes"
    )
    sample_deadline_s: float = Field(
        default=5.0, gt=0, description="deadline of one sample in a worker"
    )
    request_deadline_s: float = Field(
        default=60.0, gt=0, description="deadline of requests that set no deadline_ms"
    )
    worker_memory_bytes: int = Field(
        default=2 * 2**30, ge=LEAST_WORKER_BYTES, description="memory limit of a worker"
    )
    worker_max_samples: int = Field(
        default=100_000, ge=1, description="samples after which a worker is replaced"
    )
    max_samples: int = Field(default=4096, ge=1, description="samples per request, at most")
    max_body_bytes: int = Field(default=64 * 2**20, ge=1, description="bytes per body, at most")
    max_pending_bytes: int = Field(
        default=3 * 2**26, ge=1, description="uncompressed bytes of all pending bodies; beyond: 429"
    )
    max_body_elements: int = Field(
        default=1_000_000, ge=1, description="members and items in one request's JSON, at most"
    )
    max_connections: int = Field(
        default=4096, ge=1, description="open connections; beyond it, idle ones are closed"
    )
    max_response_bytes: int = Field(
        default=2**20, ge=1, description="bytes of one sample's response, at most"
    )
    max_pending_samples: int = Field(
        default=65_536, ge=1, description="pending samples; beyond it, 429"
    )
    receive_timeout_s: float = Field(
        default=8.0, gt=0, description="silence within a request after which it is closed"
    )
    send_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="close a connection whose client reads nothing of its answer for this long",
    )
    tls_cert: Path | None = Field(default=None, description="PEM certificate chain; enables HTTPS")
    tls_key: Path | None = Field(default=None, description="PEM key of the certificate")
    score_log: Path | None = Field(
        default=None, description="file to append every scored sample to, as a JSON line"
    )
    score_log_bytes: int = Field(
        default=256 * 2**20, ge=2**10, description="size of the score log at which it is rotated"
    )
    score_log_files: int = Field(
        default=8, ge=1, description="files of the score log to keep, the current one included"
    )
    alarm_webhook: Annotated[str, AfterValidator(check_url)] | None = Field(
        default=None, description="address to post alarms of the watch to: docs/watch.md"
    )
    alarm_webhook_key_env: KeyVariable = Field(
        default=None, description="environment variable with a bearer token for alarm_webhook"
    )
    cache_bytes: int = Field(
        default=64 * 2**20, ge=0, description="size of the cache of verdicts; 0: no cache"
    )
    recent_samples: int = Field(
        default=200, ge=0, description="samples kept in memory for the dashboard; 0: none"
    )
    cluster: bool = Field(default=False, description="serve on Ray: docs/cluster.md")
    cluster_min_replicas: int = Field(default=1, ge=1, description="least replicas per scorer")
    cluster_max_replicas: int = Field(default=8, ge=1, description="most replicas per scorer")
    cluster_target_requests: float = Field(
        default=4.0, gt=0, description="requests per replica beyond which Ray adds a replica"
    )
    cluster_gpu_share: float = Field(
        default=0.0, ge=0, description="fraction of a GPU reserved per model replica on Ray"
    )
    eval_wait_s: float = Field(
        default=5.0, ge=0, description="how long evaluation waits behind training for a worker"
    )
    drain_s: float = Field(
        default=30.0, ge=0, description="time to finish requests in flight at shutdown"
    )
    ready_needs_upstreams: bool = Field(
        default=False,
        description="answer /ready with 503 while all endpoints of a remote scorer are down",
    )
    compat_profiles: dict[str, str] = Field(
        default={}, description="default profile for the requests of a foreign format"
    )
    compat_null_rewards: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default={}, description="number to send for a null reward, by foreign format; else an error"
    )
    compat_ground_truths: Path | None = Field(
        default=None, description="JSON lines of ground truths for trainers that send none"
    )
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", description="log level; info logs one line per request"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="log line format")
    log_samples: bool = Field(
        default=False, description="log prompts, responses and ground truths with each request"
    )
    traces: bool = Field(default=False, description="OpenTelemetry traces: docs/operations.md")

    @model_validator(mode="after")
    def _refuse_open_door(self) -> Settings:
        if not (_is_loopback(self.host) or self.keys or self.insecure):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines and no API key is set; "
                "set REWARD_API_KEY, listen on 127.0.0.1, or use --insecure"
            )
        return self

    @model_validator(mode="after")
    def _refuse_processes_on_a_cluster(self) -> Settings:
        if self.cluster and self.processes > 1:
            raise ValueError(
                f"processes: {self.processes} and cluster cannot be combined; Ray has replicas "
                "(cluster_min_replicas)"
            )
        return self

    @model_validator(mode="after")
    def _refuse_half_of_tls(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; one of them is missing")
        return self

    @model_validator(mode="after")
    def _refuse_two_keys_of_one_name(self) -> Settings:
        names = [key.name for key in self.keys]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"api_keys: two keys are called {', '.join(twice)}; give them different names"
            )
        return self

    @property
    def profile_dirs(self) -> list[Path]:
        """The directories of profiles, besides the built-in ones that need no model."""
        return [
            *([NEURAL_DIR, *fetched_dirs()] if self.neural_profiles else []),
            *([self.profiles_dir] if self.profiles_dir else []),
        ]

    @property
    def plugins(self) -> Plugins:
        """The Python modules that profiles may name."""
        return Plugins(tuple(self.scorer_modules), self.plugins_dir)

    @property
    def other_models(self) -> list[ModelConfig]:
        """The models to serve that no profile uses."""
        return [EmbeddingConfig(model=self.embedding_model)] if self.embedding_model else []

    @property
    def keys(self) -> list[ApiKey]:
        """All keys of the server, each with a name; if there are none, no key is needed."""
        first = [ApiKey(key=self.api_key, name="default")] if self.api_key else []
        if self.admin_key:
            first.append(ApiKey(key=self.admin_key, name="admin", role="admin"))
        others = (
            key if key.name else key.model_copy(update={"name": f"key{place}"})
            for place, key in enumerate(self.api_keys, 1)
        )
        return [*first, *others]


def load_settings(
    config: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of the file `config` (or `REWARD_CONFIG`), environment and `overrides`.

    Warn about an environment variable that looks like a setting but is not one.

    Example:
        >>> load_settings(overrides={"port": 8701}).port
        8701

    Raises:
        ConfigError: an unknown key, a value that does not fit, or a file that cannot be read.
    """
    path = config or (
        Path(os.environ["REWARD_CONFIG"]) if os.environ.get("REWARD_CONFIG") else None
    )
    if path is not None and not path.is_file():
        raise ConfigError(f"config file {path} does not exist")
    try:
        return _with_file(path)(**(overrides or {}))
    except ValidationError as error:
        raise ConfigError(f"settings: {describe(error)}") from error
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"config file {path}: expected a YAML mapping of settings; {on_one_line(error)}"
        ) from error


def _with_file(path: Path | None) -> type[Settings]:
    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            own = _own_variables(os.environ)
            cast(EnvSettingsSource, env_settings).env_vars = {
                name.lower(): value for name, value in own.items() if value
            }
            return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, path)

    return FileSettings


def _own_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are settings; warn about those that only look like one.

    Kubernetes sets variables for every service, such as `REWARD_SERVER_SERVICE_HOST` for a service
    called reward-server and `REWARD_PORT=tcp://…` for one called reward.
    """
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    own: dict[str, str] = {}
    for name, value in environment.items():
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in OTHER_VARIABLES:
            continue
        if re.match(r"(tcp|udp|sctp)://", value):
            if upper in known:
                logger.warning("%s=%s is a service's address, not a setting: ignored", name, value)
        elif upper in known:
            own[name] = value
        elif not _SERVICE_VARIABLE.search(upper):
            likely = difflib.get_close_matches(upper, sorted(known | OTHER_VARIABLES), n=1)
            hint = f"; did you mean {likely[0]}?" if likely else ""
            logger.warning("environment variable %s is not a setting and is ignored%s", name, hint)
    return own


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
