"""Write docs/images/survives.svg: a terminal recording of a run that survives a server kill.

A loop scores 512 answers per step, as a trainer would; before step 4 the server is killed with
SIGKILL, and restarted two seconds later. The lines are the run's own output; the commands between
them show the actions on the server.
"""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from touchstone_rewards.clients import RemoteRewardClient, Sample, ScoreResult
from touchstone_rewards.reward_server.live_server import LiveServer

PICTURE = Path(__file__).parents[1] / "images" / "survives.svg"
STEPS, ANSWERS, KILLED_BEFORE, DOWN_S = 6, 512, 4, 2.0


def answers(step: int) -> list[Sample]:
    """Return the answers of a step: half are right, one is a bomb, one has no ground truth."""
    samples = [
        Sample(f"{step}/{n}", f"So it is \\boxed{{{n + n % 2}}}.", ground_truth=str(n))
        for n in range(ANSWERS - 2)
    ]
    bomb = Sample(f"{step}/bomb", "\\boxed{9^{9^{9^9}}}", ground_truth="9")
    return [*samples, bomb, Sample(f"{step}/truth", "\\boxed{7}", ground_truth=None)]


def expected(sample: Sample) -> float | None:
    """Return the reward that the server must give to a sample."""
    if sample.id.endswith("truth"):
        return None
    return float(f"\\boxed{{{sample.ground_truth}}}" in sample.response)


def told(step: int, results: Sequence[ScoreResult], took_s: float) -> str:
    """Return one line about a step."""
    rewards = [result.reward for result in results if result.reward is not None]
    reasons = Counter(result.error.code for result in results if result.error)
    nulls = ", ".join(f"{count} null ({code})" for code, count in reasons.items())
    mean = sum(rewards) / len(rewards)
    return (
        f"step {step}  {len(results)} answers  {len(rewards)} rewards, mean {mean:.3f}  "
        f"{nulls}  {took_s:5.2f} s"
    )


def with_whole_last_line(svg: str) -> str:
    """Return rich's picture with room for the descenders of its last line, which it cuts."""
    clip = re.compile(r'(clip-terminal">\s*<rect [^>]*height=")([\d.]+)')
    return clip.sub(lambda match: f"{match[1]}{float(match[2]) + 8:g}", svg)


def restart_later(server: LiveServer) -> threading.Thread:
    thread = threading.Timer(DOWN_S, server.restart)
    thread.start()
    return thread


def main() -> None:
    console = Console(record=True, width=96, highlight=False)
    console.print("[bold]$ reward-server serve &[/]")
    lost = made_up = 0
    with tempfile.TemporaryDirectory() as folder, LiveServer(Path(folder) / "log") as server:
        client = RemoteRewardClient(server.url, timeout_s=600)
        console.print("[bold]$ python train.py[/]")
        for step in range(1, STEPS + 1):
            restarting = None
            if step == KILLED_BEFORE:
                console.print("[bold red]$ kill -9 $(pgrep -f reward-server)[/]")
                server.kill()
                restarting = restart_later(server)
                console.print(f"[bold]$ sleep {DOWN_S:g}; reward-server serve &[/]")
            samples, begun_s = answers(step), time.monotonic()
            results = client.score(samples, "math")
            line = told(step, results, time.monotonic() - begun_s)
            console.print(f"[yellow]{line}[/]" if restarting else line)
            lost += len(samples) - len(results)
            made_up += sum(r.reward != expected(s) for s, r in zip(samples, results, strict=True))
            if restarting:
                restarting.join()
    console.print(
        f"[green]{STEPS * ANSWERS} answers, {lost} lost, {made_up} with a reward that is not the "
        "grader's[/]"
    )
    assert lost == made_up == 0
    picture = console.export_svg(title="A reward server dies in mid-run")
    # Remove the fonts, which would be loaded from another host.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(with_whole_last_line(picture), "utf-8")


if __name__ == "__main__":
    main()
