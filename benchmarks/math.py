"""The math engine against Math-Verify, Qwen2.5-Math's grader and PRM800K's, on the same cases.

Measures accuracy and speed on labeled pairs in one process each, our worst cases on hostile
inputs, the pairs of different ground truths that we accept, and the speed through command and
server. The data lies beside the checkout, the peers in the folder that MATH_PEERS names:

    python -m venv $MATH_PEERS/math_verify   && …/bin/pip install 'math-verify[antlr4_13_2]'
    python -m venv $MATH_PEERS/qwen          && …/bin/pip install antlr4-python3-runtime==4.11.1 \\
        sympy==1.12 regex word2number pylatexenc mpmath==1.3.0 'numpy<2' python-dateutil
    git clone … $MATH_PEERS/Qwen2.5-Math     git clone … $MATH_PEERS/prm800k

Times in one process are processor time, so that a busy machine favors nobody; through command and
server they are wall-clock time, for the peer too. Missing peers are left out. A peer that is silent
for 30 s on a pair is killed, and the pair counts as refused.
"""

from __future__ import annotations

import itertools
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import live_server, record
from touchstone_rewards.reward_server.scorers.math import (
    UnreadableGroundTruth,
    math_check,
    math_equal,
)
from touchstone_rewards.reward_server.scorers.math.answers.read import remembered
from touchstone_rewards.reward_server.scorers.math.equal import compare, ground_truth_texts

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
SILENCE_S = 30
ROUNDS = 5
BATCH, COPIES = 512, 60
# Peer -> its environment and its checkout, in the folder of the peers.
PEERS = {
    "math_verify": ("math_verify", ""),
    "qwen": ("qwen", "Qwen2.5-Math/evaluation"),
    "prm800k": ("qwen", "prm800k/prm800k"),
}

# Verdicts, each with its processor and wall-clock seconds.
Judged = list[tuple[bool | None, float, float]]


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def cases() -> list[dict[str, Any]]:
    """Return the labeled pairs on which people agree."""
    return [
        {
            "kind": row["kind"],
            "prediction": row["pred"],
            "truth": row["ground_truth"],
            "equal": row["equal"],
        }
        for row in rows_of("math_cases.jsonl")
        if "debatable" not in row["tags"]
    ]


def verdict(kind: str, prediction: str, truth: str) -> bool | None:
    try:
        if kind == "extract":
            return math_check(prediction, truth).equal
        return math_equal(prediction, truth)
    except UnreadableGroundTruth:
        return None


def ours(pairs: list[dict[str, Any]]) -> Judged:
    """Return our verdicts, with empty caches."""
    remembered.cache_clear()
    judged: Judged = []
    for pair in pairs:
        began_s, clock_s = time.process_time(), time.perf_counter()
        found = verdict(pair["kind"], pair["prediction"], pair["truth"])
        took_s = time.process_time() - began_s
        judged.append((found, took_s, time.perf_counter() - clock_s))
    return judged


def of_peer(
    peer: str, pairs: list[dict[str, Any]], folder: Path, silence_s: float = SILENCE_S
) -> Judged:
    """Return a peer's verdicts; restart the peer after each pair on which it is silent."""
    environment, checkout = PEERS[peer]
    python = folder / environment / "bin" / "python"
    judged: Judged = []
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as listed:
        listed.writelines(json.dumps(pair) + "\n" for pair in pairs)
        listed.flush()
        script = str(Path(__file__).parent / "_math_peers.py")
        while len(judged) < len(pairs):
            command = [str(python), "-P", script, peer, listed.name, str(len(judged))]
            judged.extend(_lines([*command, str(folder / checkout)], silence_s))
            if len(judged) < len(pairs):
                judged.append((None, silence_s, silence_s))
    return judged


def _lines(command: list[str], silence_s: float) -> Iterator[tuple[bool | None, float, float]]:
    """Yield the command's output lines until it ends; kill it if it is silent for too long."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting, process:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while waiting.select(silence_s) and (line := process.stdout.readline()):
            found, took_s, clock_s = json.loads(line)
            yield found, took_s, clock_s
        process.kill()


def summary(name: str, pairs: list[dict[str, Any]], judged: Judged) -> dict[str, Any]:
    seconds = sorted(took_s for _, took_s, _ in judged)
    found = [bool(verdict) for verdict, _, _ in judged]
    right = [given == pair["equal"] for given, pair in zip(found, pairs, strict=True)]
    accepted = [given and not pair["equal"] for given, pair in zip(found, pairs, strict=True)]
    return {
        "grader": name,
        "accuracy_percent": round(100 * sum(right) / len(pairs), 2),
        "false_positives": sum(accepted),
        "false_negatives": len(pairs) - sum(right) - sum(accepted),
        "pairs_per_s": round(len(pairs) / sum(seconds), 1),
        "pairs_per_s_by_the_clock": round(len(pairs) / sum(clock_s for _, _, clock_s in judged), 1),
        "median_ms": round(1e3 * statistics.median(seconds), 3),
        "p99_ms": round(1e3 * seconds[int(0.99 * len(seconds))], 3),
    }


def hostile_inputs() -> list[dict[str, Any]]:
    """Return answers written to run code, to hang or to cheat; `expect` is null where both are
    right."""
    return [
        {
            "kind": row["kind"],
            "prediction": "".join(
                piece * times for piece, times in row.get("pred_parts") or [[row["pred"], 1]]
            ),
            "truth": row["ground_truth"],
            "expect": row["expect"],
        }
        for row in rows_of("math_hostile.jsonl")
    ]


def hostile() -> dict[str, Any]:
    """Return our slowest time on a hostile input (best of several rounds), and the wrong
    verdicts."""
    slowest, wrong = 0.0, 0
    for row in hostile_inputs():
        took_s: list[float] = []
        found: bool | None = None
        for _ in range(ROUNDS):
            began_s = time.process_time()
            found = verdict(row["kind"], row["prediction"], row["truth"])
            took_s.append(time.process_time() - began_s)
        slowest = max(slowest, min(took_s))
        wrong += row["expect"] is not None and bool(found) != row["expect"]
    return {"slowest_ms": round(1e3 * slowest, 2), "wrong_verdicts": wrong}


def accepted_pairs(truths: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of different ground truths that are judged equal in either order."""
    found: list[tuple[str, str]] = []
    for one, other in itertools.combinations(truths, 2):
        if compare(one, other).equal or compare(other, one).equal:
            found.append((one, other))
    return found


def ground_truths() -> dict[str, list[tuple[str, str]]]:
    math500 = sorted({row["answer"] for row in rows_of("math500.jsonl")})
    gsm8k = sorted({ground_truth_texts(row["answer"])[0] for row in rows_of("gsm8k_test.jsonl")})
    return {"MATH-500": accepted_pairs(math500), "GSM8K": accepted_pairs(gsm8k)}


def samples(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pairs as samples, several copies of each: a group of responses has one ground
    truth."""
    boxed: Callable[[dict[str, Any]], str] = lambda pair: (  # noqa: E731
        pair["prediction"] if pair["kind"] == "extract" else f"\\boxed{{{pair['prediction']}}}"
    )
    return [
        {"id": f"{number}/{copy}", "response": boxed(pair), "ground_truth": pair["truth"]}
        for number, pair in enumerate(pairs)
        for copy in range(COPIES)
    ]


def through_command(made: list[dict[str, Any]]) -> float:
    """Return samples per second through `reward-server score`, including its start."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "samples.jsonl"), Path(folder, "results.jsonl")
        source.write_text("".join(json.dumps(sample) + "\n" for sample in made), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "touchstone_rewards.reward_server",
            "score",
            "--cache_bytes",
            "0",
        ]
        began_s = time.perf_counter()
        subprocess.run(
            [*command, "--input", str(source), "--output", str(target)],
            check=True,
            capture_output=True,
        )
        took_s = time.perf_counter() - began_s
        assert len(target.read_text(encoding="utf-8").splitlines()) == len(made)
    return len(made) / took_s


def through_server(made: list[dict[str, Any]]) -> float:
    """Return samples per second through `POST /score`, with four batches in flight."""
    batches = [made[at : at + BATCH] for at in range(0, len(made), BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        server = live_server(Path(folder, "server.log"), "--cache_bytes", "0").start()
        try:
            return _posted(server.url, batches) * len(made)
        finally:
            server.stop()


def _posted(url: str, batches: list[list[dict[str, Any]]]) -> float:
    """Return how many times per second all batches are answered."""
    from concurrent.futures import ThreadPoolExecutor

    bodies = [json.dumps({"profile": "math", "samples": batch}) for batch in batches]
    with httpx2.Client(timeout=600) as client, ThreadPoolExecutor(4) as pool:

        def post(body: str) -> None:
            client.post(f"{url}/score", content=body).raise_for_status()

        post(bodies[0])
        began_s = time.perf_counter()
        list(pool.map(post, bodies))
        return 1 / (time.perf_counter() - began_s)


def _print(row: dict[str, Any]) -> None:
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def main() -> None:
    if not (DATA / "math_cases.jsonl").exists():
        print(f"no labelled pairs in {DATA}")
        return
    pairs = cases()
    rounds = [summary("ours", pairs, ours(pairs)) for _ in range(ROUNDS)]
    mine = sorted(rounds, key=lambda row: row["pairs_per_s"])[ROUNDS // 2]
    _print(mine)
    graders = [mine]
    folder = Path(os.environ.get("MATH_PEERS", "no folder of peers"))
    for peer, (environment, _) in PEERS.items():
        if not (folder / environment).exists():
            print(f"{peer}: not in {folder} (MATH_PEERS)")
            continue
        graders.append(summary(peer, pairs, of_peer(peer, pairs, folder)))
        _print(graders[-1])
    worst = hostile()
    _print(worst)
    accepted = ground_truths()
    _print({name: len(found) for name, found in accepted.items()})
    made = samples(pairs)
    ways = [
        ("in one process", mine["pairs_per_s"], "pairs_per_s"),
        ("through reward-server score", through_command(made), "pairs_per_s_by_the_clock"),
        ("through /score, batches of 512", through_server(made), "pairs_per_s_by_the_clock"),
    ]
    peer = next((row for row in graders if row["grader"] == "math_verify"), None)
    rows = [
        {
            "what": f"pairs per second, {how}",
            "ours": round(speed, 1),
            "peer": peer and peer[key],
            "ratio": peer and round(speed / peer[key], 1),
            "floor": None,
        }
        for how, speed, key in ways
    ]
    for row in rows:
        _print(row)
    record("math", rows, graders=graders, hostile=worst, accepted_unlike_truths=accepted)
