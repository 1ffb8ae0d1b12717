"""Each rule against an obvious Python peer, and IFEval's instructions kind by kind.

Measures microseconds of processor time a kilobyte of response, best of several rounds, one sample
at a time: ours through `score`, as the server calls it, the peer through its own function. Then the
group scorers that need no other scorer. Then our verdicts on instructions against those of the
published checkers, on IFBench's sample responses.

    git clone https://github.com/huggingface/open-r1 $RULES_PEERS/open-r1
    git clone https://github.com/huggingface/evaluate $RULES_PEERS/evaluate
    git clone https://github.com/allenai/open-instruct $RULES_PEERS/open-instruct
    pip install 'touchstone-rewards[server,rules,dev]'
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _rules_peers as peers
from benchmarks import record
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_callable, build_scorer
from touchstone_rewards.reward_server.scorers.base import Member
from touchstone_rewards.reward_server.scorers.rules.following.given import Given
from touchstone_rewards.reward_server.scorers.rules.ifeval import (
    KINDS,
    Instruction,
    followed_by,
    looser,
)

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
ROUNDS, LEAST_S = 7, 0.05
INLINE_LIMIT_US = 20.0  # per kilobyte
GROUP_SIZE = 8
GROUP_CONFIGS = {
    "distinct": {"by": "words"},
    "duplicates": {},
    "rank": {"of": "form"},
    "relative_length": {},
}
TEXTS_A_KIND, SHORT_A_KIND = 60, 30

# Words of typical English length: five letters and a space.
PROSE = (
    "To find the total distance, we first work out how far the train travels before lunch. It "
    "leaves the northern station at eight in the morning and keeps a steady speed of sixty "
    "kilometres an hour for three hours, so it covers one hundred and eighty kilometres. After a "
    "break of thirty minutes, the driver slows down because of repairs near the river bridge, and "
    "the remaining two hours are spent at only forty kilometres an hour, which adds another "
    "eighty kilometres. Together these parts make two hundred and sixty kilometres. We should "
    "check whether the break matters: the question asks about distance, not about the average "
    "speed, therefore the pause changes nothing here. If it had asked for the average speed over "
    "the whole journey, we would have divided by five and a half hours instead. On warm days "
    "the same train carries more passengers, but that information is not needed to answer the "
    "question, and it can safely be ignored by a careful reader who checks each step of it."
)
ANSWER = "sixty kilometres an hour"
REFERENCE = "The train travels one hundred and eighty kilometres before lunch. " * 3
CALL = {"name": "search", "arguments": {"query": "trains", "limit": 10}}
TOOL_CALL = f"{PROSE[:900]}\n<tool_call>\n{json.dumps(CALL)}\n</tool_call>"
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "steps"],
        "properties": {"name": {"type": "string"}, "steps": {"type": "integer", "minimum": 0}},
    },
}
ROWS = json.dumps([{"name": f"tower {n}", "steps": n, "note": "by the river"} for n in range(18)])
INSTRUCTIONS = {
    "instruction_id_list": [
        "punctuation:no_comma",
        "length_constraints:number_words",
        "keywords:existence",
    ],
    "kwargs": [{}, {"relation": "at least", "num_words": 100}, {"keywords": ["train", "river"]}],
}


class Case(NamedTuple):
    """A rule on one sample, and the peer: its name and a function that builds it."""

    rule: str
    config: dict[str, Any]
    sample: Sample
    peer: str
    make: Callable[[], peers.Judge | None]


def cases() -> list[Case]:
    said = lambda text, truth=None, **metadata: Sample("1", text, None, truth, metadata=metadata)  # noqa: E731
    tagged = f"<think>{PROSE[:900]}</think>\n<answer>42</answer>"
    told = f"{PROSE[:960]} The answer is (B)."
    number = f"{PROSE[:960]} The answer is 42.5 km."
    wanted = json.dumps(CALL)
    pattern = r"speed of (\w+)\s+kilometres"
    return [
        Case("exact", {}, said(PROSE, PROSE), "open-instruct's FlanVerifier",
             lambda: peers.open_instruct("FlanVerifier", PROSE)),
        Case("contains", {"phrases": ["warm days"]}, said(PROSE), "Python's in",
             lambda: lambda text: "warm days" in text.lower()),
        Case("f1", {}, said(PROSE, ANSWER), "SQuAD's script",
             lambda: peers.squad("f1_score", ANSWER)),
        Case("f1", {}, said(PROSE, ANSWER), "open-instruct's F1Verifier",
             lambda: peers.open_instruct("F1Verifier", ANSWER)),
        Case("f1", {"measure": "exact_match"}, said(PROSE, ANSWER), "SQuAD's script",
             lambda: peers.squad("exact_match_score", ANSWER)),
        Case("choice", {}, said(told, "B"), "Python's re",
             lambda: peers.python_re(r"answer is \(?([A-D])\)?")),
        Case("numeric", {}, said(number, "42.5 km"), "Python's re",
             lambda: peers.python_re(r"answer is (-?[\d.]+)")),
        Case("length", {"shape": "soft_overlong", "most": 400, "buffer": 100}, said(PROSE),
             "TRL's soft overlong punishment", peers.trl_soft_overlong),
        Case("repetition", {"n": 4}, said(PROSE), "open-r1's repetition penalty",
             peers.open_r1_repetition),
        Case("tags", {}, said(tagged), "TRL's think_format_reward", peers.trl_think_format),
        Case("tool_call", {}, said(TOOL_CALL, wanted), "json.loads and ==",
             lambda: peers.json_equal(CALL)),
        Case("regex", {"pattern": pattern}, said(PROSE), "Python's re",
             lambda: peers.python_re(pattern)),
        Case("json_schema", {"schema": SCHEMA}, said(ROWS), "jsonschema",
             lambda: peers.jsonschema(SCHEMA)),
        Case("language", {"language": "en"}, said(PROSE), "langdetect", peers.langdetect),
        Case("ifeval", {}, said(PROSE, **INSTRUCTIONS), "if-verifiable", if_verifiable),
        Case("rouge", {}, said(PROSE, REFERENCE), "rouge-score", lambda: peers.rouge(REFERENCE)),
        Case("bleu", {}, said(PROSE, REFERENCE), "sacrebleu",
             lambda: peers.sacrebleu("bleu", REFERENCE)),
        Case("chrf", {}, said(PROSE, REFERENCE), "sacrebleu",
             lambda: peers.sacrebleu("chrf", REFERENCE)),
    ]  # fmt: skip


def if_verifiable() -> peers.Judge | None:
    checkers = peers.published_checkers()
    if checkers is None:
        return None
    pairs = list(zip(INSTRUCTIONS["instruction_id_list"], INSTRUCTIONS["kwargs"], strict=True))

    def judge(text: str) -> bool:
        made = [(checkers[kind](kind), kwargs) for kind, kwargs in pairs]
        for checker, kwargs in made:
            checker.build_description(**kwargs)
        return all(checker.check_following(text) for checker, _ in made)

    return judge


def us_a_kilobyte(call: Callable[[], object], size: int) -> float:
    """Return the best of several rounds, each long enough to measure."""
    call()
    times = 1
    best = float("inf")
    for _ in range(ROUNDS):
        while True:
            began_s = time.process_time()
            for _ in range(times):
                call()
            took_s = time.process_time() - began_s
            if took_s >= LEAST_S:
                break
            times *= 4
        best = min(best, took_s / times)
    return round(1e6 * best / (size / 1000), 2)


def speed() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for rule, config, sample, peer, make in cases():
        scorer = build_callable(rule, config)
        size = len(sample.response.encode())
        ours = us_a_kilobyte(lambda s=scorer, one=sample: s.score([one]), size)
        judge = make()
        theirs = judge and us_a_kilobyte(lambda j=judge, text=sample.response: j(text), size)
        name = rule if "measure" not in config else f"{rule} {config['measure']}"
        rows.append(
            {
                "what": f"{name}, µs a kilobyte",
                "runs_in": scorer.runs_in,
                "ours": ours,
                "peer": theirs,
                "peer_name": peer if judge else f"{peer}: not there",
                "ratio": theirs and round(theirs / ours, 2),
            }
        )
    return rows


def group_speed() -> list[dict[str, Any]]:
    """Return the cost per member of a group, scored all at once as in the server."""
    drawn = random.Random(0)
    words = PROSE.split()
    texts = [" ".join(drawn.sample(words, len(words))) for _ in range(GROUP_SIZE)]
    members = [Member(Sample(str(n), text), {"form": n / 8}) for n, text in enumerate(texts)]
    size = sum(len(text.encode()) for text in texts)
    rows: list[dict[str, Any]] = []
    for name, config in GROUP_CONFIGS.items():
        scorer = build_scorer(name, config)
        assert scorer.runs_in == "group"
        cost = us_a_kilobyte(lambda s=scorer: s.score(members), size)
        what = f"{name}, a member of {GROUP_SIZE}, µs a kilobyte"
        rows.append({"what": what, "runs_in": "group", "ours": cost})
    return rows


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def agreement() -> list[dict[str, Any]]:
    """Return for each kind how many verdicts agree with those of the published checker."""
    checkers = peers.published_checkers()
    if checkers is None or not (DATA / "ifbench_prompts.jsonl").is_file():
        return []
    own = {row["prompt"]: row["response"] for row in read("ifbench_sample_responses.jsonl")}
    asked: dict[str, list[tuple[dict[str, Any], str | None]]] = {}
    for row in [*read("ifbench_prompts.jsonl"), *read("ifeval_prompts.jsonl")]:
        for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            known = {name: value for name, value in (kwargs or {}).items() if value is not None}
            asked.setdefault(kind, []).append((known, own.get(row["prompt"])))
    return [
        {"kind": kind, **of_kind(kind, asked[kind], checkers[kind], list(own.values()))}
        for kind in sorted(asked)
        if kind != "words:start_verb"
    ]


def of_kind(
    kind: str, asked: list[tuple[dict[str, Any], str | None]], checker: Any, texts: list[str]
) -> dict[str, int]:
    """Compare our verdicts with the checker's on responses to this kind's own prompts, on random
    other responses, and on short beginnings of these, which satisfy more kinds."""
    drawn = random.Random(kind)
    pairs = [(kwargs, text) for kwargs, text in asked if text is not None]
    pairs += [(drawn.choice(asked)[0], text) for text in drawn.sample(texts, TEXTS_A_KIND)]
    pairs += [
        (drawn.choice(asked)[0], " ".join(text.split()[: drawn.randint(1, 12)]))
        for text in drawn.sample(texts, SHORT_A_KIND)
    ]
    names = ("verdicts", "agree", "followed_by_ours", "followed_by_theirs", "they_fail")
    counts: dict[str, int] = dict.fromkeys(names, 0)
    for kwargs, text in pairs:
        made = checker(kind)
        made.build_description(**kwargs)
        for looked_at in ([text], looser(text)):
            try:
                theirs = any(one.strip() and made.check_following(one) for one in looked_at)
            except Exception:  # noqa: BLE001  raised on a text that it does not expect
                counts["they_fail"] += 1
                continue
            ours = followed_by(Instruction(kind, KINDS[kind], Given(kind, kwargs)), looked_at)
            counts["verdicts"] += 1
            counts["agree"] += ours == theirs
            counts["followed_by_ours"] += ours
            counts["followed_by_theirs"] += theirs
    return counts


def main() -> None:
    rows = speed()
    for row in rows:
        peer = f"{row['peer']} {row['peer_name']}" if row["peer"] else row["peer_name"]
        print(f"{row['what']:32} {row['ours']:9} in {row['runs_in']:6}  {peer}")
    slow = [r["what"] for r in rows if r["runs_in"] == "inline" and r["ours"] > INLINE_LIMIT_US]
    print(f"inline rules above {INLINE_LIMIT_US:g} µs a kilobyte: {', '.join(slow) or 'none'}")
    of_groups = group_speed()
    for row in of_groups:
        print(f"{row['what']:45} {row['ours']:9}")
    kinds = agreement()
    for row in kinds:
        print(f"{row['kind']:45} {row['agree']:4} of {row['verdicts']:4} agree")
    record("rules", rows, inline_limit_us=INLINE_LIMIT_US, groups=of_groups, instructions=kinds)


if __name__ == "__main__":
    main()
