"""Write docs/images/dashboard.png and dashboard-dark.png: the dashboard of a server in use.

A simulated policy answers sums for three minutes and gets better at them; some of its answers
hedge, some ground truths are broken. Needs Chromium: run `python -m docs.site.dashboard`.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.browser import Browser
from touchstone_rewards.clients import RemoteRewardClient, Sample
from touchstone_rewards.reward_server.live_server import LiveServer

IMAGES = Path(__file__).parents[1] / "images"
STEPS, PAUSE_S, PROMPTS, RESPONSES = 80, 2.0, 8, 8
WIDTH, HEIGHT = 1280, 1500
WATCHED = """\
scorers:
  math: {weight: 1.0}
  strict: {scorer: math, weight: 0.0, config: {answer_from: [boxed]}}
watch: {compare: [math, strict]}
"""


def answers(step: int, draw: random.Random) -> Iterator[Sample]:
    """Yield the answers of one step: more of them right and in a box, the later it is."""
    skill = 0.2 + 0.6 * step / STEPS
    for prompt in range(PROMPTS):
        a, b = draw.randint(2, 99), draw.randint(2, 99)
        truth = None if draw.random() < 0.02 else str(a + b)
        for response in range(RESPONSES):
            said = a + b if draw.random() < skill else a + b + draw.randint(1, 9)
            text = f"{a} and {b} make {said}." + " So it is." * draw.randint(0, 3)
            if draw.random() < skill:
                text += f" The answer is \\boxed{{{said}}}."
            name = f"{step}-{prompt}"
            yield Sample(f"{name}/{response}", text, f"{a} + {b}?", truth, group_id=name)


def main() -> None:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        profiles = Path(folder) / "profiles"
        profiles.mkdir()
        (profiles / "math_watched.yaml").write_text(WATCHED, "utf-8")
        options = ("--profiles_dir", str(profiles), "--workers", "1")
        with LiveServer(Path(folder) / "log", *options) as server:
            client = RemoteRewardClient(server.url, timeout_s=120)
            for step in range(STEPS):
                samples = list(answers(step, draw))
                client.score(samples, "math", run="sums", step=step)
                client.score(samples, "math_watched")
                time.sleep(PAUSE_S)
            browser = Browser(Path(folder))
            try:
                for name, dark in (("dashboard", False), ("dashboard-dark", True)):
                    page = browser.open_page(WIDTH, HEIGHT, dark=dark).go(server.url)
                    time.sleep(2 * PAUSE_S)
                    page.screenshot(IMAGES / f"{name}.png", whole=False)
            finally:
                browser.close()


if __name__ == "__main__":
    main()
