"""Start a reward server for the duration of a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from touchstone_rewards.reward_server.live_server import LiveServer, ServerFailed
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.reward_arguments import ServeArguments

LOG = "server.log"


@contextmanager
def own_server(log: Path, *options: str) -> Iterator[LiveServer]:
    """Start a server on a free port with these flags of `serve`, yield it, and stop it.

    Raises:
        RunFailed: it exited or was not ready within a minute; the message has the end of its log.
    """
    live = LiveServer(log, *options, dies_with_parent=True)
    try:
        live.start()
    except ServerFailed as error:
        live.stop()
        raise RunFailed(str(error)) from error
    try:
        yield live
    finally:
        live.stop()


@contextmanager
def reward_server(log: Path, *options: str) -> Iterator[str]:
    """Start a server as `own_server` does, and yield its URL.

    Raises:
        RunFailed: see `own_server`.
    """
    with own_server(log, *options) as live:
        yield live.url


@contextmanager
def served(
    arguments: ServeArguments, urls: Sequence[str] | None, folder: Path, processes: int = 1
) -> Iterator[list[str] | None]:
    """Yield the URLs of the servers to use: those of the config, or of a new one that logs into
    `folder`.

    With several `processes`, the first one starts the server and tells the others.

    Raises:
        InputError: both `serve` and URLs are given.
        RunFailed: the server does not start.
    """
    if not arguments.serve:
        yield None if urls is None else list(urls)
    elif urls:
        raise InputError("serve starts a reward server: leave out reward_url")
    elif processes > 1:
        with _shared(arguments, folder) as url:
            yield [url]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with reward_server(folder / LOG, *arguments.options()) as url:
            yield [url]


@contextmanager
def _shared(arguments: ServeArguments, folder: Path) -> Iterator[str]:
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    if not PartialState().is_main_process:
        found: list[str | None] = [None]
        broadcast_object_list(found)
        if found[0] is None:
            raise RunFailed("the first process could not start the reward server")
        yield found[0]
        return
    told = False
    try:
        with served(arguments, None, folder) as urls:
            assert urls
            broadcast_object_list(list(urls))
            told = True
            yield urls[0]
    finally:
        if not told:
            broadcast_object_list([None])
