"""A server started by the command: shared by all its processes, stopped when it ends."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.trainer.grpo.test_together import in_two_processes
from touchstone_rewards.reward_server.live_server import free_port
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.reward_arguments import ServeArguments
from touchstone_rewards.trainer.workflow.local_server import LOG, served

SERVED = """
from pathlib import Path
from accelerate import Accelerator
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.reward_arguments import ServeArguments
from touchstone_rewards.trainer.rewards import check_server
from touchstone_rewards.trainer.workflow.local_server import served

accelerator = Accelerator(cpu=True)
arguments = ServeArguments(serve=True{fields})
try:
    with served(arguments, None, Path("run"), processes=2) as urls:
        said = urls[0] + " " + check_server(urls, ["math"])["math"].fingerprint
        accelerator.wait_for_everyone()
except RunFailed as error:
    said = str(error)
Path(f"{{accelerator.process_index}}.txt").write_text(said)
accelerator.state.destroy_process_group()
"""


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def test_the_server_is_there_inside_the_block_and_gone_after_it(tmp_path: Path) -> None:
    with served(ServeArguments(serve=True), None, tmp_path / "run") as urls:
        assert urls is not None
        assert is_up(urls[0])
    assert not is_up(urls[0])
    assert (tmp_path / "run" / LOG).is_file()


def test_without_serve_the_servers_are_those_of_the_config(tmp_path: Path) -> None:
    with served(ServeArguments(), ["http://one", "http://two"], tmp_path / "run") as urls:
        assert urls == ["http://one", "http://two"]
    with served(ServeArguments(), None, tmp_path / "run") as urls:
        assert urls is None
    assert not (tmp_path / "run").exists()


def test_an_error_inside_the_block_ends_the_server_too(tmp_path: Path) -> None:
    seen: list[str] = []

    def fail() -> None:
        with served(ServeArguments(serve=True), None, tmp_path) as urls:
            seen.extend(urls or ())
            raise RunFailed("the run's own")

    with pytest.raises(RunFailed, match="the run's own"):
        fail()
    assert not is_up(seen[0])


def test_both_kinds_of_servers_are_refused(tmp_path: Path) -> None:
    both = served(ServeArguments(serve=True), ["http://one"], tmp_path)
    with pytest.raises(InputError, match="leave out reward_url"), both:
        pass
    with pytest.raises(ValueError, match="need serve"):
        ServeArguments(serve_config="x.yaml")


@pytest.mark.long
def test_two_processes_ask_one_server(tmp_path: Path) -> None:
    first, second = in_two_processes(tmp_path, SERVED.format(fields=""))
    assert first == second
    assert first.startswith("http://127.0.0.1:")


@pytest.mark.long
def test_a_server_that_does_not_start_ends_both_processes(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("nosuch_setting: 1\n")
    first, second = in_two_processes(tmp_path, SERVED.format(fields=", serve_config='bad.yaml'"))
    assert "the reward server ended with 2" in first
    assert second == "the first process could not start the reward server"


def test_no_outgoing_connection_is_given_the_port_of_a_server() -> None:
    """A client of another server could hold the port when this one starts again."""
    assert all(free_port() < 32_768 for _ in range(20))
