"""Rewards for TRL from a reward server: score samples, keep them, and stop a run that must stop.

The reward function is the one of the clients; it returns one reward per completion, None where
there is none. This module also hands every scored sample of training to the `SampleWriter`. Only
this module and `evaluation/` use the clients.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import msgspec
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from touchstone_rewards.clients import (
    Alarm,
    InvalidSample,
    MalformedAnswer,
    PreflightFailed,
    RemoteRewardClient,
    RequestRefused,
    RewardClientError,
    RewardServerUnavailable,
    Sample,
    ScoreResult,
    Unauthorized,
    UnknownHost,
    UntrustedCertificate,
    preflight,
)
from touchstone_rewards.clients.adapters.missing import Counts
from touchstone_rewards.clients.adapters.trl import trl_reward
from touchstone_rewards.clients.adapters.trl_columns import DatasetColumns, samples_of
from touchstone_rewards.trainer.data.kept_samples import HELD_OUT, KeptSample, SampleWriter
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.reward_arguments import RewardArguments
from touchstone_rewards.trainer.running.ranks import share, together
from touchstone_rewards.trainer.several_rewards import RewardPart, SeveralRewards

logger = logging.getLogger(__name__)

STARTUP_WAIT_S = 10.0


def connect(url: Sequence[str] | None, timeout_s: float) -> RemoteRewardClient:
    """Return a client for these servers.

    Raises:
        InputError: a URL is not valid, or REWARD_CA_FILE cannot be read.
    """
    try:
        return RemoteRewardClient(url, timeout_s=timeout_s)
    except ValueError as error:
        raise InputError(f"reward_url: {error}") from error
    except UntrustedCertificate as error:
        raise InputError(str(error)) from error


class ServedProfile(NamedTuple):
    """A profile as the server describes it: its fingerprint, the fields its reward depends on, its
    scores, and the languages it is calibrated for (None: any)."""

    fingerprint: str
    needs: Sequence[str]
    scores: Sequence[str]
    languages: Sequence[str] | None = None


def check_server(url: Sequence[str] | None, profiles: Sequence[str]) -> dict[str, ServedProfile]:
    """Return the server's descriptions of `profiles`; the server must be up by now.

    Raises:
        RunFailed: no server answers within ten seconds.
        InputError: the server wants another key, or has no such profile.
    """
    with connect(url, STARTUP_WAIT_S) as client:
        try:
            known = {
                each.name: ServedProfile(each.fingerprint, each.needs, each.scorers, each.languages)
                for each in client.profiles()
            }
        except RewardServerUnavailable as error:
            servers = " or ".join(client.urls)
            why = str(error).partition(" Is the server running")[0]
            raise RunFailed(
                f"no reward server at {servers}: {why} Start one (reward-server serve), or give "
                "its URL with --reward_url"
            ) from error
        except Unauthorized as error:
            raise InputError(
                f"the reward server wants a key: set REWARD_API_KEY ({error})"
            ) from error
        except (UnknownHost, UntrustedCertificate) as error:
            raise InputError(f"no reward server can be reached: {error}") from error
        except RewardClientError as error:
            raise InputError(f"{client.urls[0]} is not a reward server: {error}") from error
    for profile in profiles:
        if profile not in known:
            raise InputError(f"no profile {profile!r} on the server; it has {', '.join(known)}")
    return {profile: known[profile] for profile in profiles}


def readers_of(field: str, infos: Mapping[str, ServedProfile]) -> list[str]:
    """Return the profiles whose reward depends on this field of a sample."""
    return [name for name, info in infos.items() if field in info.needs]


def language_lines(infos: Mapping[str, ServedProfile]) -> list[str]:
    """Return a line for each profile that is restricted to certain languages.

    Example:
        >>> language_lines({"story": ServedProfile("9f2c", [], [], ["English"])})
        ['profile story reads English; a row in another language gets no reward']
    """
    return [
        f"profile {name} reads {', '.join(info.languages)}; "
        "a row in another language gets no reward"
        for name, info in infos.items()
        if info.languages is not None
    ]


def score_all(
    client: RemoteRewardClient, samples: list[Sample], profile: str, **options: Any
) -> list[ScoreResult | None]:
    """Return one result per sample; None where there was no answer, or no readable one.

    Raises:
        RunFailed: a sample cannot be sent, or the server refuses the request for a reason that a
            retry cannot change, such as the key or the profile.
    """
    try:
        return list(client.score(samples, profile, **options))
    except (RewardServerUnavailable, MalformedAnswer) as error:
        logger.warning("some samples got no reward: %s", error)
        return list(error.results) or [None] * len(samples)
    except RequestRefused as error:
        raise RunFailed(f"the reward server refuses: {error}") from error
    except InvalidSample as error:
        raise RunFailed(str(error)) from error


def try_rewards(
    scoring: Any, arguments: RewardArguments, rows: Sequence[dict[str, Any]], prompt_end: str
) -> str:
    """Score known right and wrong answers to the rows as training does; return a line for the user.

    `prompt_end` is the end of a prompt as the model reads it.

    Raises:
        RunFailed: no answer got a reward, or right and wrong ones got the same.
    """
    names = {name for row in rows for name in row if name != "prompt"}
    given = {name: [row.get(name) for row in rows] for name in names}
    prompts = [row["prompt"] for row in rows]
    samples = samples_of(prompts, [""] * len(rows), given, columns_of(arguments))
    forms = preflight.forms_for(prompt_end)
    try:
        trials = preflight.trial_samples(samples, forms)
        results = score_all(
            scoring, trials, arguments.reward_profile, priority="train", explain=True
        )
        return preflight.verdict(len(rows), results, arguments.reward_profile, forms)
    except PreflightFailed as error:
        raise RunFailed(str(error)) from error


def scoring_of(client: Any, parts: Sequence[RewardPart]) -> Any:
    """Return the object that is asked for rewards: the client, or all parts combined."""
    if len(parts) == 1 and parts[0].score is None:
        return client
    return SeveralRewards(partial(score_all, client), parts)


def columns_of(arguments: RewardArguments) -> DatasetColumns:
    """Return the roles of the dataset's columns."""
    named = {arguments.ground_truth_column, *(arguments.metadata_columns or ())}
    return DatasetColumns(
        ground_truth=arguments.ground_truth_column,
        id="id",
        signals="signals",
        metadata=arguments.metadata_columns or (),
        named=frozenset(named),
    )


class ServerReward:
    """TRL's reward function from the clients, which also keeps every sample and stops all ranks
    together. Each rank calls its own on its rows.

    `run` names the run for the server's watch. `alarm` is the watch's message once the run is to
    stop. `is_training` says whether a batch is for training; samples of evaluation batches are kept
    in `held_out` below the store, and their failures never stop the run. `scored_counts` holds, for
    each batch since the last update, the number of samples that got a reward, over all ranks.
    """

    def __init__(
        self,
        client: object,
        arguments: RewardArguments,
        writer: SampleWriter,
        *,
        num_generations: int,
        is_training: Callable[[], bool],
        run: str | None = None,
    ) -> None:
        self.writer = writer
        self.several = client if isinstance(client, SeveralRewards) else None
        self.held_out: SampleWriter | None = None
        self.num_generations = num_generations
        self.is_training = is_training
        self.scored_counts: list[int] = []
        self.__name__ = arguments.reward_profile
        self.alarm: str | None = None
        self._stops = arguments.on_alarm == "stop"
        self._alarms: list[Alarm] = []
        self._state = TrainerState()
        self._log: Callable[[str, float], None] = _no_log
        # have all ranks been told whether every one of them scored this batch?
        self._shared = False
        self._reward = trl_reward(
            cast(Any, client),
            arguments.reward_profile,
            "sync",
            ground_truth_column=arguments.ground_truth_column,
            metadata_columns=arguments.metadata_columns or (),
            on_missing="leave_out",
            max_failed_frac=arguments.max_failed_frac,
            failed_steps_patience=arguments.failed_steps_patience,
            preflight=False,
            checked_before=True,  # before the model was loaded
            on_samples=self._name,
            on_results=self._keep,
            gather=self._gather,
            priority=lambda: "train" if is_training() else "eval",
            run=run,
            on_alarm=self._alarms.append if run else None,
        )

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        trainer_state: TrainerState,
        log_metric: Callable[[str, float], None],
        **columns: Any,
    ) -> list[float | None]:
        self._state, self._log, self._shared = trainer_state, log_metric, False
        try:
            columns |= {"trainer_state": trainer_state, "log_metric": log_metric}
            rewards = self._reward(prompts, completions, **columns)
        except Exception as error:  # the rank's boundary: the other ranks must be told
            failed = _stop_of(error)
            if not self._shared:
                share(failed)
            raise failed from error
        self._hear()
        return rewards

    def _hear(self) -> None:
        """Report the alarms that any rank received; collective, so that all ranks stop together."""
        heard = {alarm.id: alarm.message for alarm in gather_object(self._alarms)}
        self._alarms.clear()
        for message in heard.values() if self.writer.rank == 0 else ():
            logger.warning("alarm of the reward server's watch: %s", message)
        if heard and self._stops and self.alarm is None:
            self.alarm = next(iter(heard.values()))

    def _name(self, samples: list[Sample]) -> None:
        """Number the samples of a group; the group may be spread over several ranks."""
        first = self.writer.rank * len(samples)
        for place, sample in enumerate(samples, first):
            sample.id = f"{sample.group_id}/{place % self.num_generations}"

    def _keep(self, samples: list[Sample], results: list[ScoreResult | None]) -> None:
        self._shared = True
        share(None)  # every rank has scored, or one reports its error
        training, writer = self.is_training(), self.writer
        if not training:
            log_held_out(results, self._log, one_reward=self.several is None)
            folder = writer.folder / HELD_OUT
            writer = self.held_out or SampleWriter(folder, writer.distributed, writer.rank)
            self.held_out = writer
        # Evaluation samples come from the updates so far; training samples go into the next update.
        step = self._state.global_step + training
        kept = [
            kept_sample(sample, result, self._state, step)
            for sample, result in zip(samples, results, strict=True)
        ]
        with together():
            writer.write_batch(step, kept)

    def _gather(self, counts: Counts) -> list[Counts]:
        """Gather the failure counts of all ranks, so that every rank reaches the same verdict."""
        parts = gather_object([counts])
        self.scored_counts.append(sum(total - failed for total, failed, _ in parts))
        return parts


def _no_log(_: str, __: float) -> None:
    pass


def _stop_of(error: Exception) -> Exception:
    """Translate an error that ends the run into a message about the trainer's own options."""
    if isinstance(error, RequestRefused):
        return RunFailed(f"the reward server refuses: {error}")
    if isinstance(error, RewardClientError) and not isinstance(error, InvalidSample):
        said = str(error).replace("raise timeout_s", "raise --reward_timeout_s")
        return RunFailed(
            f"{said}. Repair the reward server, then continue with --resume_from_checkpoint true"
        )
    return error


class HoldWithoutRewards(TrainerCallback):
    """Keeps the weights unchanged in an update for which no sample got a reward.

    Zero advantages are not enough: weight decay, momentum and a KL or entropy term would still
    change the weights. Without gradients the optimizer skips every parameter.
    """

    def __init__(self, reward: ServerReward) -> None:
        self.reward = reward
        self.hold = False

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        # Without a new batch, this update reuses the samples of the last one.
        if self.reward.scored_counts:
            self.hold = not any(self.reward.scored_counts)
            self.reward.scored_counts.clear()
        if self.hold:
            kwargs["optimizer"].zero_grad(set_to_none=True)


def log_held_out(
    results: Sequence[ScoreResult | None],
    log_metric: Callable[[str, float], None],
    *,
    one_reward: bool = True,
) -> None:
    """Log accuracy, format rate and mean reward of a batch over its scored samples.

    With several rewards no accuracy is logged. TRL averages over batches: they count equally only
    if `per_device_eval_batch_size` divides the number of rows.
    """
    scored = [result for result in results if result is not None and result.reward is not None]
    rewards = [result.reward for result in scored if result.reward is not None]
    formats = [value for result in scored if (value := result.scores.get("format")) is not None]
    if rewards and one_reward:
        log_metric("held_out/accuracy", rewards.count(1.0) / len(rewards))
    if rewards:
        log_metric("held_out/avg_reward", sum(rewards) / len(rewards))
    if formats:
        log_metric("held_out/format_rate", formats.count(1.0) / len(formats))


def kept_sample(
    sample: Sample, result: ScoreResult | None, state: TrainerState, step: int
) -> KeptSample:
    """Return the stored line for a sample; without an answer its error code is `unavailable`."""
    return KeptSample(
        id=sample.id,
        prompt=msgspec.to_builtins(sample.prompt),
        response=sample.response,
        reward=result.reward if result else None,
        scores=result.scores if result else {},
        step=step,
        epoch=state.epoch or 0.0,
        group=sample.group_id or sample.id,
        fingerprint=result.fingerprint if result else None,
        ground_truth=sample.ground_truth,
        status=result.status if result else "error",
        error=error_of(result),
        signals=sample.signals,
        metadata=sample.metadata,
    )


def error_of(result: ScoreResult | None) -> dict[str, object] | None:
    """Return the reason why a sample has no reward, as data; None if it has one."""
    if result is None:
        message = "no answer in time, or no readable answer"
        return {"code": "unavailable", "message": message, "retryable": True}
    return None if result.error is None else msgspec.to_builtins(result.error)
