"""The peers of the rule benchmark: functions of installed packages and of checkouts, not copies.

Each peer is a function of one response and as ready to call as ours: patterns are compiled, schemas
parsed, models loaded. `RULES_PEERS` names a folder with checkouts; without it, peers that need one
are left out.
"""

from __future__ import annotations
import __future__

import abc
import ast
import collections
import dataclasses
import importlib.util
import json
import os
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

Judge = Callable[[str], object]


def chat(text: str) -> list[list[dict[str, str]]]:
    """Return a text as the list of completions that TRL passes to reward functions."""
    return [[{"role": "assistant", "content": text}]]


def trl_think_format() -> Judge:
    from trl.rewards.format_rewards import think_format_reward

    return lambda text: think_format_reward(chat(text))


def trl_soft_overlong() -> Judge:
    from trl.rewards.other_rewards import get_soft_overlong_punishment

    punish: Any = get_soft_overlong_punishment(max_completion_len=400, soft_punish_cache=100)
    # TRL counts tokens from the trainer; here these are words, split as ours splits them.
    return lambda text: punish([text.split()])


def squad(name: str, truth: str) -> Judge | None:
    """Return the SQuAD evaluation script of Hugging Face's evaluate as a function."""
    found = _parts("evaluate/metrics/squad/compute_score.py", "normalize_answer", name)
    if found is None:
        return None
    return lambda text: found[name](text, truth)


def open_instruct(verifier: str, truth: str) -> Judge | None:
    needed = ("VerifierConfig", "VerificationResult", "VerifierFunction", "normalize_answer")
    needed += ("remove_thinking_section", "f1_score", verifier)
    found = _parts("open-instruct/open_instruct/ground_truth_utils.py", *needed)
    if found is None:
        return None
    verify = found[verifier]()
    return lambda text: verify([], text, truth)


def open_r1_repetition() -> Judge | None:
    name = "get_repetition_penalty_reward"
    found = _parts("open-r1/src/open_r1/rewards.py", name)
    if found is None:
        return None
    penalty = found[name](4, -1.0)
    return lambda text: penalty(chat(text))


def _parts(path: str, *names: str) -> dict[str, Any] | None:
    """Return functions and classes of a checkout's file, without the file's imports; None without
    it."""
    file = Path(os.environ.get("RULES_PEERS", "")) / path
    if "RULES_PEERS" not in os.environ or not file.is_file():
        return None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if getattr(node, "name", None) in names]
    module: dict[str, Any] = {
        "ABC": abc.ABC,
        "Counter": collections.Counter,
        "abstractmethod": abc.abstractmethod,
        "dataclasses": dataclasses,
        "re": re,
        "string": string,
        "__name__": __name__,
    }
    flags = __future__.annotations.compiler_flag
    exec(compile(ast.Module(wanted, []), str(file), "exec", flags), module)
    return module


def python_re(pattern: str) -> Judge:
    compiled = re.compile(pattern)
    return compiled.search


def jsonschema(schema: dict[str, Any]) -> Judge:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    return lambda text: validator.is_valid(json.loads(text))


def json_equal(wanted: dict[str, Any]) -> Judge:
    """Compare a tool call as many scripts do: the JSON between the tags, and `==`."""
    return lambda text: (
        json.loads(text.partition("<tool_call>")[2].partition("</tool_call>")[0]) == wanted
    )


def langdetect() -> Judge | None:
    if importlib.util.find_spec("langdetect") is None:
        return None
    import langdetect as peer  # pyright: ignore[reportMissingImports]

    peer.DetectorFactory.seed = 0
    return peer.detect


def sacrebleu(metric: str, truth: str) -> Judge:
    import sacrebleu as peer

    measure = getattr(peer, f"sentence_{metric}")
    return lambda text: measure(text, [truth])


def rouge(truth: str) -> Judge:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    return lambda text: scorer.score(truth, text)


def published_checkers() -> dict[str, Any] | None:
    """Return if-verifiable's checkers by kind, with local replacements for its downloads.

    They are the same Punkt model from its package, and the same stop words as ours.
    """
    if importlib.util.find_spec("if_verifiable") is None:
        return None
    import nltk
    from punkt import tokenizer_for

    from touchstone_rewards.reward_server.scorers.rules.following import texts

    changed: Any = nltk
    changed.download = lambda *_, **__: True
    changed.word_tokenize = lambda text, **_: texts.tokens(text)
    from if_verifiable.ifbench import instructions_util as ifbench
    from if_verifiable.ifbench.instructions_registry import INSTRUCTION_DICT as IFBENCH
    from if_verifiable.ifeval import instructions_util as ifeval
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT as IFEVAL

    for module in (ifbench, ifeval):
        setattr(module, "_get_sentence_tokenizer", lambda: tokenizer_for("english"))  # noqa: B010
    changed_util: Any = ifbench
    changed_util.count_stopwords = lambda text: sum(
        word.lower() in texts.STOP_WORDS for word in texts.word_runs(text)
    )
    return {**IFEVAL, **IFBENCH}
