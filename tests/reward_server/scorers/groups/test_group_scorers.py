"""Each group scorer against scores computed by hand; the order of the members does not matter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reward_server.scorers.groups.asked import answered, judged, members_of, values
from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import Ask, GroupScorer, Member, Score
from touchstone_rewards.reward_server.scorers.groups.packed import PackedGroup, pack, unpack
from touchstone_rewards.reward_server.scorers.groups.texts import runs, words

LATE = Score(error=sample_error("deadline_exceeded", "too slow"))


def group_scorer(name: str, **config: Any) -> GroupScorer:
    scorer = build_scorer(name, config)
    assert scorer.runs_in == "group"
    return scorer


def boxed(*answers: str) -> list[Member]:
    return members_of(*(f"So it is \\boxed{{{answer}}}." for answer in answers))


def test_the_majority_is_the_largest_class_of_equal_answers() -> None:
    scores = judged(group_scorer("majority"), boxed("1/2", "0.5", "\\frac{2}{4}", "2", "3"))
    assert values(scores) == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert scores[1].explanation == {
        "answer": "0.5",
        "same_answer": 3,
        "members": 5,
        "rule": "the majority's",
    }


def test_two_largest_classes_are_no_majority() -> None:
    scores = judged(group_scorer("majority"), boxed("1", "1", "2", "2", "3"))
    assert values(scores) == [0.0] * 5
    assert {(each.explanation or {})["rule"] for each in scores} == {"no majority"}


def test_a_majority_may_have_to_be_a_part_of_the_group() -> None:
    members = [*boxed("1", "1", "2"), *members_of("I do not know", "nor do I")]
    assert values(judged(group_scorer("majority"), members)) == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert values(judged(group_scorer("majority", min_share=0.5), members)) == [0.0] * 5


def test_responses_without_an_answer_are_no_majority() -> None:
    members = [*members_of("", "", ""), *boxed("1")]
    assert values(judged(group_scorer("majority"), members)) == [0.0, 0.0, 0.0, 1.0]


def test_an_answer_that_cannot_be_compared_is_left_out_alone() -> None:
    def hangs_on_seven(asked: Ask) -> list[Score]:
        hangs = ["7" in (str(one.ground_truth), one.response) for one in asked.samples]
        found = answered(asked)
        return [LATE if hang else score for hang, score in zip(hangs, found, strict=True)]

    members = boxed("1", "1", "7", "2", "3")
    scores = judged(group_scorer("majority"), members, hangs_on_seven)
    assert values(scores) == [1.0, 1.0, None, 0.0, 0.0]
    assert scores[2].error == LATE.error
    scores = judged(group_scorer("distinct"), members, hangs_on_seven)
    assert values(scores) == [0.5, 0.5, None, 1.0, 1.0]


def test_a_response_whose_answer_is_not_found_in_time_is_left_out_alone() -> None:
    def hangs_on_the_first(asked: Ask) -> list[Score]:
        found = answered(asked)
        return [LATE, *found[1:]] if asked.explain else found

    scores = judged(group_scorer("majority"), boxed("2", "1", "1"), hangs_on_the_first)
    assert values(scores) == [None, 1.0, 1.0]


def test_the_share_of_distinct_answers_is_the_mean_of_distinct() -> None:
    found = values(judged(group_scorer("distinct"), boxed("1/2", "0.5", "2", "3")))
    assert found == [0.5, 0.5, 1.0, 1.0]  # three answers of four: mean 3/4


def test_distinct_words_are_runs_that_no_other_member_has() -> None:
    scorer = group_scorer("distinct", by="words", words=2)
    scores = judged(scorer, members_of("a b c", "a b d", "x"))
    assert values(scores) == [0.5, 0.5, 1.0]
    assert scores[0].explanation == {"runs": 2, "own_runs": 1}


def test_near_copies_pay_for_each_other_and_no_one_else_does() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    members = members_of(text, f"{text.upper()}.", "something else entirely is said here", "")
    scores = judged(group_scorer("duplicates"), members)
    assert values(scores) == [-1 / 3, -1 / 3, 0.0, 0.0]
    assert (scores[0].explanation, scores[2].explanation) == ({"copies": 1}, {"copies": 0})


@pytest.mark.parametrize(("from_share", "wanted"), [(0.5, -1.0), (0.51, 0.0)])
def test_copies_are_near_from_a_share_of_their_runs_on(from_share: float, wanted: float) -> None:
    # {ab, bc, cd} and {ab, bc, ce}: two of four runs are common.
    scorer = group_scorer("duplicates", words=2, from_share=from_share)
    assert values(judged(scorer, members_of("a b c d", "a b c e"))) == [wanted, wanted]


def test_rank_is_the_share_of_others_that_are_beaten_ties_as_half() -> None:
    scores = judged(group_scorer("rank", of="judge"), members_of(*"abcd", judge=[3, -1, 3, 8]))
    assert values(scores) == [0.5, 0.0, 0.5, 1.0]
    assert scores[0].explanation == {"score": 3, "beats": 1, "ties": 1}


def test_the_shortest_right_response_gets_most_and_brevity_alone_nothing() -> None:
    members = members_of("x", "xx", "xxx", math=[0.0, 1.0, 1.0])
    assert values(judged(group_scorer("relative_length"), members)) == [0.5, 0.0, -0.5]
    right = group_scorer("relative_length", of="math")
    assert values(judged(right, members)) == [0.0, 0.0, -0.5]
    assert values(judged(right, members_of("ab", "cd", math=[1.0, 0.0]))) == [0.0, 0.0]
    members = members_of("x", "xx", math=[0.0, 1.0])
    [short, _] = judged(group_scorer("relative_length"), members)
    assert short.explanation == {"length": 1, "shortest": 1, "longest": 2}
    [short, _] = judged(right, members)
    assert short.explanation == {"length": 1, "shortest": 1, "longest": 2, "right": False}
    by_words = group_scorer("relative_length", unit="words")
    assert values(judged(by_words, members_of("long-winded", "a b c"))) == [0.5, -0.5]


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("majority", {"min_share": 2}, "min_share is 2; expected a number from 0 to 1"),
        ("majority", {"math": {"rounded": 1}}, "no config key 'rounded'"),
        ("distinct", {"by": "vectors"}, "by is 'vectors'; expected answers, words or embeddings"),
        ("distinct", {"by": "words", "words": 0}, "words is 0; expected a whole number"),
        ("duplicates", {"from_share": 0}, "from_share is 0; expected a number above 0"),
        ("duplicates", {"remember": 10_001}, "remember is 10001; expected a whole number from 0"),
        ("duplicates", {"remember": True}, "remember is True; expected a whole number from 0"),
        ("duplicates", {"remembered_share": 0}, "remembered_share is 0; expected a number above"),
        ("rank", {"of": 1}, "of is 1; expected the key"),
        ("relative_length", {"unit": "lines"}, "unit is 'lines'; expected characters or words"),
        ("relative_length", {"right_from": "1"}, "right_from is '1'; expected a number"),
    ],
)
def test_a_config_that_cannot_be_is_refused(name: str, config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_scorer(name, config)


SCORERS = [
    ("majority", {}),
    ("distinct", {}),
    ("distinct", {"by": "words"}),
    ("duplicates", {"words": 1}),
    ("duplicates", {"words": 1, "remember": 9}),
    ("rank", {"of": "judge"}),
    ("relative_length", {"of": "judge"}),
]
RESPONSES = st.sampled_from(
    [
        "\\boxed{1/2}",
        "\\boxed{0.5}",
        "so \\boxed{2}",
        "\\boxed{x+1}",
        "\\boxed{1+x}",
        "no",
        "",
        "答案是 2",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(RESPONSES, min_size=2, max_size=6), st.sampled_from(SCORERS))
def test_the_order_of_the_members_is_of_no_consequence(
    data: st.DataObject, responses: list[str], which: tuple[str, dict[str, Any]]
) -> None:
    judge = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=6))
    members = members_of(*responses, judge=judge)
    order = data.draw(st.permutations(range(len(members))))
    scorer = group_scorer(which[0], **which[1])
    in_order = judged(scorer, members)
    shuffled = judged(scorer, [members[at] for at in order])
    assert [in_order[at].value for at in order] == values(shuffled)


def test_a_packed_group_is_scored_as_the_group_itself() -> None:
    members = members_of("a b c", "a b c", "d", judge=[1.0, 2.0, 3.0])
    for name, config in SCORERS[2:]:
        scorer = group_scorer(name, **config)
        packed = pack("g", members, scorer.reads)
        [score] = PackedGroup(scorer).score([packed], explain=True)
        assert unpack(score, 3) == judged(scorer, members)
    assert unpack(LATE, 2) == [LATE, LATE]


def test_words_are_those_of_many_languages() -> None:
    assert words("It is 46, né? 答案是四。") == ["it", "is", "46", "né", "答", "案", "是", "四"]
    assert runs("one", 3) == {("one",)}
    assert runs("", 3) == {()}
