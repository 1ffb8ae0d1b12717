"""Shell completion of `reward-server` and `trainer`, in a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.checkout import ROOT

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")


def completion(package: str, shell: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"touchstone_rewards.{package}", "completion", shell],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def offered(package: str, *words: str) -> list[str]:
    """Return bash's suggestions for the last of `words`; the first is the command's name."""
    line = " ".join(f"'{word}'" for word in words)
    function = f"_shtab_{words[0].replace('-', '_')}"
    asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; {function}"
    script = f"{completion(package, 'bash').stdout}\n{asked}\necho ${{COMPREPLY[@]}}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split()


def test_bash_completes_the_commands_of_the_server() -> None:
    assert offered("reward_server", "reward-server", "rep") == ["replay"]


def test_bash_completes_the_options_of_the_server() -> None:
    assert "--max_pending_samples" in offered("reward_server", "reward-server", "serve", "--max_p")


def test_bash_completes_options_that_are_trl_s_own() -> None:
    assert offered("trainer", "trainer", "grpo", "--learning_r") == ["--learning_rate"]


def test_bash_completes_a_command_of_two_words() -> None:
    assert offered("trainer", "trainer", "data", "sh") == ["show"]


def test_a_shell_that_is_not_known_is_named() -> None:
    done = completion("trainer", "fish")
    said = "trainer completion: expected a shell, one of bash, zsh, tcsh; got fish\n"
    assert (done.returncode, done.stderr) == (2, said)
