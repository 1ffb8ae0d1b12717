"""Check that trainers get the server's rewards: the same 400 samples through each trainer's code.

One server scores math, tags, a reward model with random weights, a routed mix, a scorer that takes
half a second, and samples that cannot be scored: without a ground truth, with an unreadable one,
killing their worker, hanging, raising, returning None. `/score` is called at the beginning and
again at the end. Each trainer runs in its own environment by `_parity/scripts/with_NAME.py`, which
reports the rewards that the trainer holds; they are compared with those of `/score` bit by bit.

`PARITY=trl,verl` runs only these trainers and keeps the other rows of the results file.
`PARITY_AT_ONCE=4` runs four trainers concurrently.

Exits with 1 if a reward differs, a number replaces null, or a trainer was not run and is not listed
in `_parity/peers.py`. `tests/contract/environments/make.sh` makes the environments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import httpx2

from benchmarks import RESULTS, ROOT, live_server, record
from benchmarks._parity import material
from benchmarks._parity.comparing import compare, faults
from benchmarks._parity.page import page_of
from benchmarks._parity.peers import NOT_RUN, PEERS, Form, Peer
from touchstone_rewards.reward_server.live_server import free_port, without_settings

SCRIPTS = Path(__file__).parent / "_parity" / "scripts"
PAGE = ROOT / "docs" / "parity.md"
PARTS = (*material.SIZES, *material.NULLS)
PEER_TIMEOUT_S = 1800
Rewards = dict[str, float | None]


def main() -> int:
    """Run the trainers and return the exit status."""
    from benchmarks._parity.models import (
        write_models,  # imports torch, which the page's test does not need
    )

    rows_before = _rows_before()
    chosen = [word for word in os.environ.get("PARITY", "").split(",") if word]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy, reward_model = write_models(folder)
        settings = material.write_settings(folder, reward_model)
        options = ("--config", str(settings), "--workers", "2")
        with live_server(folder / "log", *options) as server:
            said = {form: asked(server.url, form) for form in get_args(Form)}

            def row(peer: Peer) -> dict[str, Any]:
                if chosen and not any(word in peer.script for word in chosen):
                    return rows_before[peer.name]
                made = row_of(peer, said[peer.form], folder, policy, server.url)
                _show(made)
                return made

            with ThreadPoolExecutor(int(os.environ.get("PARITY_AT_ONCE", "1"))) as turns:
                rows = list(turns.map(row, PEERS))
            again = {form: asked(server.url, form) for form in said}
    rows += [
        {"peer": name, "status": "not run", "why": why, "listed": True}
        for name, why in NOT_RUN.items()
        if name not in {peer.name for peer in PEERS}
    ]
    found = faults(rows)
    if again != said:
        found.append("/score returned different rewards at the end than at the beginning")
    path = record("parity", rows, samples=_kept_samples(), score=said)
    PAGE.write_text(page_of(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    print(*found, sep="\n")
    return 1 if found else 0


def asked(url: str, form: Form) -> Rewards:
    """Return the reward by `/score` of every sample, in the form in which a trainer sends it."""
    rewards: Rewards = {}
    for part in PARTS:
        rows = [row for row in material.samples() if row["part"] == part]
        body = {"profile": profile_of(rows[0], form), "samples": [as_sent(r, form) for r in rows]}
        answer = httpx2.post(f"{url}/score", json=body, timeout=120).raise_for_status().json()
        for row, result in zip(rows, answer["results"], strict=True):
            rewards[row["id"]] = result["reward"]
            code = result["error"]["code"] if result["error"] else None
            assert code in (None, material.NULLS.get(part, (None, None))[1]), result
    return rewards


def profile_of(row: dict[str, Any], form: Form) -> str:
    """Return the profile for a row: the reward model without a template for templated texts."""
    whole = form != "question" and row["profile"] == "reward_model"
    return "reward_model_plain" if whole else row["profile"]


def as_sent(row: dict[str, Any], form: Form) -> dict[str, Any]:
    """Return the sample of a row in the form in which a trainer sends it."""
    prompt, response = row["prompt"], row["response"]
    if form == "rendered":
        prompt = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        response += material.END
    if form == "stripped":
        prompt = f"user\n{prompt}\nassistant\n"
    sent = {name: row[name] for name in ("id", "ground_truth", "metadata")}
    return sent | {"response": response, "prompt": prompt}


def row_of(peer: Peer, said: Rewards, folder: Path, policy: Path, url: str) -> dict[str, Any]:
    """Run one trainer, compare its rewards and return its row of the results."""
    told_of = ("way", "form", "absent", "left_out")
    about = {"peer": peer.name} | {name: getattr(peer, name) for name in told_of}
    where = python_and_checkout(peer)
    if isinstance(where, str):
        why = NOT_RUN.get(peer.name, where)
        return about | {"status": "not run", "why": why, "listed": peer.name in NOT_RUN}
    python, checkout = where
    task, found = (folder / f"{what}_{peer.environment}.json" for what in ("task", "found"))
    parts: list[dict[str, Any]] = [
        {"name": part, "null": part in material.NULLS, "samples": rows}
        | {"profile": profile_of(rows[0], peer.form)}
        for part in PARTS
        if part not in peer.left_out
        for rows in [[row for row in material.samples() if row["part"] == part]]
    ]
    about_task = {"url": url, "policy": str(policy), "checkout": checkout, "parts": parts}
    about_task |= {"launch": str(ROOT / "docs" / "launch"), "ports": [free_port() for _ in parts]}
    task.write_text(json.dumps(about_task), encoding="utf-8")
    done = run_script(python, peer, task, found)
    if not found.is_file():
        why = (done.stderr.strip().splitlines() or ["no message"])[-1][:400]
        return about | {
            "status": "not run",
            "why": f"it ended: {why}",
            "listed": peer.name in NOT_RUN,
        }
    told = json.loads(found.read_text(encoding="utf-8"))
    verdicts = {
        part["name"]: told["parts"].get(part["name"], {})
        | compare(
            {row["id"]: said[row["id"]] for row in part["samples"]},
            told["parts"].get(part["name"]),
            peer.null,
        )
        for part in parts
    }
    if any(verdict["lost"] for verdict in verdicts.values()):
        print(done.stderr[-3000:], file=sys.stderr)
    return about | {"status": "run", "version": told["version"], "parts": verdicts}


def python_and_checkout(peer: Peer) -> tuple[Path, str | None] | str:
    """Return the interpreter and the checkout, or a message about the missing one."""
    default = Path(tempfile.gettempdir()) / "touchstone_peers"
    made = Path(os.environ.get("TOUCHSTONE_PEERS", default)) / peer.environment
    if not (made / ".made_with").is_file():
        return f"no environment; make it by tests/contract/environments/make.sh {peer.environment}"
    checkouts = Path(os.environ.get("TOUCHSTONE_CONTRACT", made.parent / "checkouts"))
    if peer.checkout and not (checkouts / peer.checkout).is_dir():
        return f"no checkout {peer.checkout} in the folder TOUCHSTONE_CONTRACT"
    return made / "bin" / "python", peer.checkout and str(checkouts / peer.checkout)


def run_script(
    python: Path, peer: Peer, task: Path, found: Path
) -> subprocess.CompletedProcess[str]:
    environment = {
        **without_settings(),
        "PARITY_TASK": str(task),
        "PARITY_FOUND": str(found),
        "PARITY_ABSENT": " ".join(peer.absent),
        "PYTHONPATH": f"{ROOT / 'src'}:{SCRIPTS}",
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # the default 15 starves actors on a busy machine
    }
    return subprocess.run(
        [str(python), str(SCRIPTS / f"{peer.script}.py")],
        env=environment,
        cwd=task.parent,
        capture_output=True,
        text=True,
        timeout=PEER_TIMEOUT_S,
        check=False,
    )


def _kept_samples() -> list[dict[str, Any]]:
    return [{"id": row["id"], "part": row["part"]} for row in material.samples()]


def _rows_before() -> dict[str, dict[str, Any]]:
    """Return the rows of the results file by trainer; without a file, rows that say "not run"."""
    path = RESULTS / "parity.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    never = {"status": "not run", "why": "never run", "listed": False}
    return {peer.name: {"peer": peer.name, **never} for peer in PEERS} | {
        row["peer"]: row for row in rows
    }


def _show(row: dict[str, Any]) -> None:
    """Print one line per part."""
    print(row["peer"], row.get("version", row.get("why")), flush=True)
    for name, part in row.get("parts", {}).items():
        counts = {key: part[key] for key in ("equal", "nulls", "different", "invented", "lost")}
        print(f"  {name}: {counts} {part.get('raised', '')} {part.get('then', '')}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
