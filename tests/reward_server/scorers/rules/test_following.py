"""Each instruction of IFEval and IFBench: both sides, hostile texts, and the published checkers."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.checkout import ROOT
from tests.growth import MOST_GROWTH, growth
from tests.reward_server.scorers.rules.instructions import EXAMPLES
from tests.reward_server.scorers.rules.page import PAGE

for engine in ("punkt", "nltk", "py3langid", "syllapy", "emoji"):
    pytest.importorskip(engine)

from touchstone_rewards.reward_server.schemas import Sample  # noqa: E402
from touchstone_rewards.reward_server.scorers.rules.following import ifeval_kinds  # noqa: E402
from touchstone_rewards.reward_server.scorers.rules.following.given import Given  # noqa: E402
from touchstone_rewards.reward_server.scorers.rules.following.texts import (  # noqa: E402
    STOP_WORDS,
    count_sentences,
    sentences,
    tokens,
)
from touchstone_rewards.reward_server.scorers.rules.ifeval import (  # noqa: E402
    KINDS,
    IfevalScorer,
    Instruction,
    followed_by,
    looser,
)

DATA = ROOT / ".." / "shared" / "data"
UNCHECKED = {"words:start_verb"}
# Those whose slowest step is to split the text by an engine, which has its own test.
BY_ENGINES = {
    "length_constraints:number_sentences",
    "change_case:capital_word_frequency",
    "words:words_position",
    "format:title_case",
}
PIECES = [
    "a", "a ", "A. ", "A? ", "\n", "* ", "*", "***", "[", "<<", "[a", "- \n", '"', "'\"", "Dr.",
    "e.g.", "1.", "1,", "(", "Section 1", "tea ", "Question 1: ", "A) b\n", "p. ", "😀", "好。",
    "\\", "\0", "\ud800", "...", " .", "and ", "<i>", "## ", "!?", "a'", "``",
]  # fmt: skip


def follows(kind: str, kwargs: dict[str, Any], text: str) -> bool:
    return KINDS[kind](text, Given(kind, kwargs))


def test_there_is_an_example_of_every_kind_and_25_are_ifeval_s() -> None:
    assert set(EXAMPLES) | UNCHECKED == set(KINDS)
    assert (len(ifeval_kinds.KINDS), len(KINDS)) == (25, 83)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_one_text_follows_the_instruction_and_the_other_does_not(kind: str) -> None:
    kwargs, followed, broken = EXAMPLES[kind]
    assert follows(kind, kwargs, followed)
    assert not follows(kind, kwargs, broken)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_argument_that_is_missing_is_an_error_and_not_drawn_at_random(kind: str) -> None:
    kwargs, followed, _ = EXAMPLES[kind]
    for name in kwargs:
        rest = {key: value for key, value in kwargs.items() if key != name}
        row = {"instruction_id_list": [kind], "kwargs": [rest]}
        [score] = IfevalScorer().score([Sample("1", followed, metadata=row)])
        assert score.error is not None
        assert score.error.code == "bad_ground_truth"
        assert name in score.error.message


def grows(judge: Callable[[str], object], pieces: Sequence[str]) -> None:
    for piece in pieces:
        build: Callable[[int], str] = lambda size, p=piece: p * (size // len(p))  # noqa: E731
        grew, text = growth(judge, build)
        assert grew < MOST_GROWTH, f"{grew:.0f} times: {text[:60]!r}"


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind not in BY_ENGINES])
def test_a_kind_takes_time_in_proportion_to_the_text(kind: str) -> None:
    kwargs = EXAMPLES[kind][0]
    follows(kind, kwargs, "warm up. The engines are loaded.")
    own = [piece for piece in PIECES if piece[0] in "".join(EXAMPLES[kind][1:])]
    pieces = random.Random(kind).sample(PIECES, 8) + own[:6]
    grows(lambda text: follows(kind, kwargs, text), pieces)


@pytest.mark.long
@pytest.mark.parametrize("split", [tokens, count_sentences])
def test_the_engines_that_split_texts_take_time_in_proportion(split: Any) -> None:
    split("warm up")
    grows(split, ["a ", "A. ", "Dr.", "a'", '"', "..."])


def test_loose_looks_at_the_eight_texts_of_the_paper() -> None:
    assert looser("*a*\nb\nc") == [
        "*a*\nb\nc", "b\nc", "*a*\nb", "b", "a\nb\nc", "b\nc", "a\nb", "b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {"instruction_id_list": ["count:numbers"], "kwargs": [{"N": 2, "word": None}]},
        {"instruction_id": "count:numbers", "kwargs": ['{"N": 2.0}']},
        {"instruction_id_list": '["count:numbers"]', "kwargs": '[{"N": 2}]'},
    ],
)
def test_a_row_may_come_in_the_forms_of_its_data_sets(row: dict[str, Any]) -> None:
    for sample in (
        Sample("1", "1 and 2", metadata=row),
        Sample("2", "1 and 2", None, json.dumps(row)),
        Sample("3", "1 and 2", None, json.dumps([row])),
        Sample("4", "<think>3</think>1 and 2", None, [json.dumps(row)]),
    ):
        [score] = IfevalScorer().score([sample], explain=True)
        assert score.value == 1.0
        assert score.explanation == {"followed": {"0 count:numbers": True}}


def test_sentences_end_where_a_reader_ends_them() -> None:
    text = 'Dr. A. B. Cox of the U.S. paid $3.50 at x.com... "Why?!" he said. J. Doe Inc. agreed.'
    assert sentences(text) == [
        "Dr. A. B. Cox of the U.S. paid $3.50 at x.com...", '"Why?!"', "he said.",
        "J. Doe Inc. agreed.",
    ]  # fmt: skip


def rows(name: str) -> list[dict[str, Any]]:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not beside the checkout, under shared/data")
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def explained() -> set[str]:
    """Return the kinds for which docs/rules.md explains a different verdict."""
    section = PAGE.partition("### Agreement")[2].partition("\n## ")[0]
    return set(re.findall(r"`([\w-]+:[\w-]+)`", section))


@pytest.fixture(scope="module")
def published() -> Iterator[dict[str, Any]]:
    """Load the checkers of the package if-verifiable, with substitutes for their downloads."""
    nltk = pytest.importorskip("nltk")
    pytest.importorskip("langdetect").DetectorFactory.seed = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nltk, "download", lambda *_, **__: True)
        patch.setattr(nltk, "word_tokenize", lambda text, **_: tokens(text))
        pytest.importorskip("if_verifiable")
        from if_verifiable.ifbench import instructions_util as ifbench  # pyright: ignore
        from if_verifiable.ifbench.instructions_registry import (  # pyright: ignore
            INSTRUCTION_DICT as IFBENCH,
        )
        from if_verifiable.ifeval import instructions_util as ifeval  # pyright: ignore
        from if_verifiable.ifeval.instructions_registry import (  # pyright: ignore
            INSTRUCTION_DICT as IFEVAL,
        )
        from punkt import tokenizer_for

        for module in (ifbench, ifeval):
            patch.setattr(module, "_get_sentence_tokenizer", lambda: tokenizer_for("english"))
        stopped = lambda text: sum(word.lower() in STOP_WORDS for word in re.findall(r"\w+", text))  # noqa: E731
        patch.setattr(ifbench, "count_stopwords", stopped)
        yield {**IFEVAL, **IFBENCH}


def theirs(checker: Any, kwargs: dict[str, Any], texts: list[str]) -> bool | None:
    """Return a published checker's verdict, or None if it fails."""
    made = checker("")
    try:
        made.build_description(**kwargs)
        return any(bool(text.strip()) and bool(made.check_following(text)) for text in texts)
    except Exception:  # noqa: BLE001 -- of a text that it does not foresee
        return None


@pytest.mark.long
@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_verdicts_are_those_of_the_published_checker_but_for_reasons_given(
    kind: str, published: dict[str, Any]
) -> None:
    given = [
        {name: value for name, value in (kwargs or {}).items() if value is not None}
        for row in [*rows("ifbench_prompts.jsonl"), *rows("ifeval_prompts.jsonl")]
        for one, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True)
        if one == kind
    ] or [EXAMPLES[kind][0]]
    drawn = random.Random(kind)
    responses = [row["response"] for row in rows("ifbench_sample_responses.jsonl")]
    texts = [*drawn.sample(responses, 12), *EXAMPLES[kind][1:]]
    texts += [" ".join(text.split()[: drawn.randint(1, 12)]) for text in drawn.sample(responses, 6)]
    for text in texts:
        kwargs = EXAMPLES[kind][0] if text in EXAMPLES[kind][1:] else drawn.choice(given)
        for looked_at in ([text], looser(text)):
            wanted = theirs(published[kind], kwargs, looked_at)
            found = followed_by(Instruction(kind, KINDS[kind], Given(kind, kwargs)), looked_at)
            if kind not in explained() and wanted is not None:
                assert found == wanted, text
