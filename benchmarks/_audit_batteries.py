"""Run test batteries of other projects and our own audit over several graders, for
`benchmarks.audit`.

    python -m benchmarks._audit_batteries OUTPUT

Runs in the environment `audit` of tests/contract/environments/make.sh, which has the packages of
the batteries and graders. All graders are profiles of one server, so that every battery and the
audit call them in the same way. The results are written to OUTPUT as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import yaml

from benchmarks import live_server

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
SOURCES = {"MATH-500": ("math500.jsonl", "HuggingFaceH4/MATH-500"),
           "GSM8K": ("gsm8k_test.jsonl", "openai/gsm8k")}  # fmt: skip
ROWS, TASKS = 8, 4  # rows of each dataset for our audit; tasks for the batteries that take rows
VERL = "verl:verl.utils.reward_score"
# Grader -> its profile, the package that it needs, and its checkout if it is not on a registry.
GRADERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "math": ({"scorer": "math"}, "", ""),
    "Math-Verify": ({"scorer": "benchmarks._audit_graders:math_verify"}, "math_verify", ""),
    "TRL": ({"scorer": "trl:trl.rewards:accuracy_reward"}, "math_verify", ""),
    "open-r1": (
        {"scorer": "trl:benchmarks._audit_graders:open_r1_accuracy"}, "math_verify", "open-r1"
    ),
    "verl": ({"scorer": f"{VERL}:default_compute_score"}, "tensordict", "verl"),
    "verl, last number": (
        {"scorer": f"{VERL}.gsm8k:compute_score", "config": {"method": "flexible"}},
        "tensordict",
        "verl",
    ),
    "contains": ({"scorer": "contains"}, "", ""),
    "format alone": ({"scorer": "trl:trl.rewards:think_format_reward"}, "trl", ""),
}  # fmt: skip
Grade = Callable[[Any, Any, str], float]
Found = dict[str, Any]


class NotScored(Exception):
    """The grader gave no reward: it failed or skipped the case."""


def rows_of(name: str) -> list[Found]:
    """Return evenly spaced rows of a dataset with their short answers."""
    file, source = SOURCES[name]
    lines = (DATA / file).read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines[:: len(lines) // ROWS][:ROWS]]
    return [row(each["question"], each["answer"].rpartition("####")[2].strip(), source)
            for each in read]  # fmt: skip


def row(question: str, truth: str, source: str) -> Found:
    """Return a row with all fields that the graders read; TRL's solution must be LaTeX."""
    return {"question": question, "ground_truth": truth, "solution": f"${truth}$",
            "data_source": source}  # fmt: skip


def grade_by(client: httpx2.Client, profile: str) -> Grade:
    """Return a grading function for the batteries: response, ground truth and prompt to reward."""

    def grade(response: Any, truth: Any, prompt: str = "") -> float:
        return known(json.dumps(response), str(truth), prompt)

    @functools.cache  # two of the batteries share cases
    def known(response: str, truth: str, prompt: str) -> float:
        asked = row(prompt, truth, SOURCES["MATH-500"][1])
        sample = {"id": "1", "response": json.loads(response), "prompt": prompt,
                  "ground_truth": asked["ground_truth"], "metadata": asked}  # fmt: skip
        answer = client.post("/score", json={"profile": profile, "samples": [sample]})
        [result] = answer.raise_for_status().json()["results"]
        if result["reward"] is None:
            raise NotScored(result["error"]["message"])
        return result["reward"]

    return grade


def corpus(package: str, grade: Grade) -> Found:
    """Run `rewardlint` or `reward_doctor`: cases with expected verdicts."""
    audit = import_module(package).audit

    def judged(completion: str, reference: str, prompt: str) -> float:
        return grade(completion, reference, prompt)

    found = audit(judged, include_contested=True)
    wrong = [each.case.id for each in found.outcomes if not each.passed]
    contested = [each.case.id for each in found.contested if not each.passed]
    return {
        "cases": len(found.outcomes), "right": len(found.outcomes) - len(wrong), "wrong": wrong,
        "debatable": len(found.contested), "debatable_otherwise": contested,
        "exploits_accepted": [each.case.id for each in found.exploits_accepted],
        "not_scored": len(found.errors),
    }  # fmt: skip


def rewardprobe(grade: Grade) -> Found:
    """Run `rewardprobe` on one function over rows; report the probes with findings."""
    tasks = [{"prompt": each["question"], "answer": each["ground_truth"]}
             for each in rows_of("GSM8K")[:TASKS]]  # fmt: skip

    def judged(completion: str, answer: str, prompt: str = "") -> float:
        return grade(completion, answer, prompt)

    report = import_module("rewardprobe").Probe().test_fn(judged, tasks)
    wrong = [each for family in report.families for each in dict.fromkeys(
        f"{family.name}: {one.attack}" for one in family.findings)]  # fmt: skip
    return {"cases": report.total_attacks, "right": report.total_passed, "wrong": wrong}


def gradecheck(grade: Grade) -> Found:
    """Run `gradecheck`: responses without content, tried on each row of a verifiers environment."""
    from gradecheck import completion_attacks, verifiers_env  # pyright: ignore

    def judged(completion: str, answer: str, question: str) -> float:
        return grade(completion, answer, question)

    rows = [{"prompt": each["question"], "question": each["question"],
             "answer": each["ground_truth"]} for each in rows_of("GSM8K")[:TASKS]]  # fmt: skip
    rubric = SimpleNamespace(funcs=[judged], weights=[1.0])
    environment = SimpleNamespace(rubric=rubric, message_type="completion", parser=None,
                                  get_dataset=lambda: rows)  # fmt: skip
    tried = completion_attacks.run_all(verifiers_env.VerifiersEnv(environment, sample=len(rows)))
    judged_as = [each for each in tried if each.verdict != "info"]
    wrong = [each.attack for each in judged_as if each.verdict != "resisted"]
    return {"cases": len(judged_as), "right": len(judged_as) - len(wrong), "wrong": wrong}


BATTERIES: dict[str, Callable[[Grade], Found]] = {
    "rewardlint": lambda grade: corpus("rewardlint", grade),
    "reward_doctor": lambda grade: corpus("reward_doctor", grade),
    "rewardprobe": rewardprobe,
    "gradecheck": gradecheck,
}


def audited(url: str, profile: str, data: str, folder: Path) -> Found:
    """Run our own audit: free rewards, refused right answers, and unscored cases."""
    output = folder / f"{profile} {data}"
    rows = output.with_suffix(".jsonl")
    rows.write_text("".join(json.dumps(each) + "\n" for each in rows_of(data)), encoding="utf-8")
    command = [sys.executable, "-m", "touchstone_rewards.reward_server", "audit", "--url", url]
    command += ["--profile", profile, "--input", str(rows), "--output", str(output)]
    done = subprocess.run([*command, "--fail_on", ""], capture_output=True, check=False)
    if done.returncode:
        return {"form": None, "why": done.stderr.decode().strip().splitlines()[-1]}
    report = json.loads((output / "audit.json").read_text(encoding="utf-8"))
    strategies, rewritings = report["strategies"], report["rewritings"]
    forms = {each["name"]: each for each in report["forms"]}
    return {
        "form": report["form"],
        "right_answers_refused": forms[report["form"]]["refused"]["share"],
        "free": summed([each["accepted"] for each in strategies]),
        "strategies": len(strategies),
        "strategies_accepted": {each["name"]: each["accepted"]["count"] for each in strategies
                                if each["accepted"]["count"]},
        "refused": {kind: summed([each["refused"] for each in rewritings if each["kind"] == kind])
                    for kind in ("spelling", "wrapping")},
        "not_scored": sum(each["unscored"] for each in strategies),
    }  # fmt: skip


def summed(shares: list[Found]) -> Found:
    """Add up several counts of the form "count of total"."""
    return {name: sum(each[name] for each in shares) for name in ("count", "of")}


def there(package: str, checkout: str) -> bool:
    checkouts = os.environ.get("TOUCHSTONE_CONTRACT", "")
    return (not package or find_spec(package) is not None) and (
        not checkout or (bool(checkouts) and (Path(checkouts) / checkout).is_dir())
    )


def main(output: Path) -> None:
    graders = {name: line for name, (line, *needs) in GRADERS.items() if there(*needs)}
    batteries = {name: run for name, run in BATTERIES.items() if find_spec(name)}
    with tempfile.TemporaryDirectory() as folder:
        profiles = Path(folder) / "profiles"
        profiles.mkdir()
        for name, line in graders.items():
            (profiles / f"grader {name}.yaml").write_text(yaml.safe_dump({"scorers": {"it": line}}))
        modules = "benchmarks,trl,verl"
        # Long deadlines: the machine may be busy, and speed is not measured here.
        patient = ("--sample_deadline_s", "120", "--request_deadline_s", "3600")
        options = ("--workers", "6", "--profiles_dir", str(profiles), "--scorer_modules", modules)
        with (
            live_server(Path(folder) / "server.log", *options, *patient) as server,
            httpx2.Client(base_url=server.url, timeout=600) as client,
        ):

            def tried(name: str) -> Found:
                profile = f"grader {name}"
                grade = grade_by(client, profile)
                found = {key: run(grade) for key, run in batteries.items()}
                for data in SOURCES:
                    found[data] = audited(server.url, profile, data, Path(folder))
                print(name, json.dumps(found)[:400], file=sys.stderr, flush=True)
                return found

            with ThreadPoolExecutor(len(graders)) as pool:
                found = dict(zip(graders, pool.map(tried, graders), strict=True))
    versions = {each: version(each.replace("_", "-")) for each in batteries}
    output.write_text(json.dumps({"versions": versions, "graders": found}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
