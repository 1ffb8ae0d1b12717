"""The graders of `why`: a verifier that sometimes fails, and common ways to handle that.

The reward server hosts `verify` unchanged, so that a failed call is a null. Run as a module, this
file is a server of its own with the same wire format: `zero_for_failed` catches the errors of
`verify` and answers 0, `substring` accepts any answer that contains the ground truth.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from touchstone_rewards.reward_server.schemas import (
    ProfileInfo,
    ProfileList,
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)

FAILS_OF_TEN = 1
FORM = re.compile(r"[^<]*</think> <answer>([^<]*)</answer>\s*")
# The last answer, as in verl; no tag inside, so that the search is linear.
ANSWER = re.compile(r"<answer>([^<]*)</answer>")


def verify(id: str, response: str, ground_truth: str) -> float:  # noqa: A002
    """Return 1 for the right number in its tags, else 0.

    Raises:
        TimeoutError: for one sample in ten, chosen by its id, independent of the response.
    """
    if zlib.crc32(id.encode()) % 10 < FAILS_OF_TEN:
        raise TimeoutError("the sandbox did not answer")
    answer = FORM.fullmatch(response)
    return float(answer is not None and answer[1].strip() == ground_truth)


def zero_for_failed(id: str, response: str, ground_truth: str) -> float:  # noqa: A002
    """Return the score of `verify`, or 0 if it fails.

    Source: `compute_score` of verl/utils/reward_score/math_verify.py (volcengine/verl 1309a220).
    """
    try:
        return verify(id, response, ground_truth)
    except Exception:  # noqa: BLE001  the flaw that is shown here
        return 0.0


def substring(id: str, response: str, ground_truth: str) -> float:  # noqa: A002
    """Return 1 if the last answer in tags contains the ground truth.

    Source: `compute_score_subem` of verl/utils/reward_score/search_r1_like_qa_em.py
    (volcengine/verl 32a02aa0).
    """
    answers = ANSWER.findall(response)
    return float(bool(answers) and ground_truth in answers[-1])


GRADERS: dict[str, Callable[[str, str, str], float]] = {
    "zero_for_failed": zero_for_failed,
    "substring": substring,
}


def graded(request: ScoreRequest) -> ScoreResponse:
    """Score every sample, whatever happened to it."""
    grade = GRADERS[request.profile]
    results = [SampleResult(each.id, "ok", *_both(grade, each)) for each in request.samples]
    return ScoreResponse(results, request.profile, request.profile, 0.0)


def _both(
    grade: Callable[[str, str, str], float], sample: Sample
) -> tuple[float, dict[str, float | None]]:
    reward = grade(sample.id, str(sample.response), str(sample.ground_truth))
    return reward, {"reward": reward}


class Handler(BaseHTTPRequestHandler):
    """Handles the two requests of a trainer: the list of profiles, and scores."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        known = [ProfileInfo(name, "", [name], {name: (0, 1)}, name) for name in GRADERS]
        self._answer(msgspec.json.encode(ProfileList(known)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = msgspec.json.decode(body, type=ScoreRequest)
        self._answer(msgspec.json.encode(graded(request)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":  # takes the flags of `reward-server serve` that LiveServer passes
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
