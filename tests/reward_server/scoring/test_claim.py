"""Of two servers on one folder, the second is refused until the first has ended in any way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.checkout import ROOT, run_command
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.scoring.claim import claim


@pytest.mark.parametrize(("option", "name"), [("--score_log", "scores.jsonl"), ("--state_dir", "")])
def test_a_second_server_on_the_same_folder_refuses_to_start(
    tmp_path: Path, start_server: Callable[..., LiveServer], option: str, name: str
) -> None:
    (tmp_path / "shared").mkdir()
    where = tmp_path / "shared" / name
    server = start_server(option, str(where))
    second = run_command("serve", "--port", 0, "--workers", 1, option, where)
    assert second.returncode == 2
    complaints = [line for line in second.stderr.splitlines() if line.startswith("reward-server:")]
    assert len(complaints) == 1
    assert f"{where} is in use by another server" in complaints[0]
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert server.restart().stop() == 0


def test_the_processes_of_one_server_share_what_it_claims(tmp_path: Path) -> None:
    def other(server_id: str) -> int:
        code = (
            "from pathlib import Path\n"
            "from touchstone_rewards.reward_server.errors import ConfigError\n"
            "from touchstone_rewards.reward_server.scoring import claim\n"
            f"claim.belong_to({server_id!r})\n"
            f"try: claim.claim(Path({str(tmp_path / 'lock')!r}), 'it')\n"
            "except ConfigError: raise SystemExit(7)\n"
        )
        return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode

    held = claim(tmp_path / "lock", "it")
    ours = (tmp_path / "lock").read_text()
    assert (other(ours), other("another")) == (0, 7)
    assert (tmp_path / "lock").read_text() == ours
    os.close(held)
    assert other("another") == 0


def test_a_claim_is_refused_while_a_process_of_another_server_lives(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from touchstone_rewards.reward_server.scoring.claim import claim\n"
        f"claim(Path({str(tmp_path / 'lock')!r}), 'it')\nprint('held', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="the log is in use by another server"):
            claim(tmp_path / "lock", "the log")
        holder.kill()
    os.close(claim(tmp_path / "lock", "the log"))


def test_each_server_of_the_stack_has_folders_of_its_own() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    written: dict[str, list[str]] = {}
    for name, service in services.items():
        if name.startswith("reward-server"):
            for volume in service["volumes"]:
                source, target = volume.split(":")[:2]
                if target in ("/logs", "/state"):
                    written.setdefault(source, []).append(name)
    assert len(written) == 4
    assert all(len(servers) == 1 for servers in written.values())
