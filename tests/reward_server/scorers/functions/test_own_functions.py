"""A user's functions: what their parameters receive, which results are accepted or refused."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Message, Sample
from touchstone_rewards.reward_server.scorers import build_callable, build_scorer
from touchstone_rewards.reward_server.scorers.base import Member, Score
from touchstone_rewards.reward_server.scorers.functions.foreign import FOREIGN
from touchstone_rewards.reward_server.scorers.plugins import PREFIXES, parted

REWARDS = "tests.reward_server.scorers.functions.rewards"


def scores(function: str, *samples: Sample, explain: bool = False, **config: Any) -> list[Score]:
    scorer = build_scorer(f"{REWARDS}:{function}", config)
    if scorer.runs_in == "group":
        found = scorer.score([Member(sample, {}) for sample in samples], explain=explain)
        assert isinstance(found, list)
        return found
    return build_callable(f"{REWARDS}:{function}", config).score(samples, explain=explain)


def test_a_functions_default_is_its_config_and_its_dict_explains() -> None:
    sample = Sample("a", "eleven chars"[:11])
    [found] = scores("short_enough", sample, explain=True)
    assert found.value == 0.0
    assert found.explanation == {"function": f"{REWARDS}:short_enough", "chars": 11}
    [found] = scores("short_enough", sample, most_chars=11)
    assert (found.value, found.explanation) == (1.0, None)


def test_parameters_are_filled_by_their_names_and_a_chat_comes_as_dicts() -> None:
    prompt = [Message("user", "6 + 40?")]
    sample = Sample("a", "46", prompt, ["46", 46], "g1", {"kl": 0.1}, {"source": "gsm8k"})
    [found] = scores("reads_all", sample, explain=True)
    chat = [{"role": "user", "content": "6 + 40?"}]
    assert found.explanation is not None
    saw = ["46", ["46", 46], chat, {"source": "gsm8k"}, {"kl": 0.1}, "g1"]
    assert found.explanation["saw"] == saw
    scorer = build_scorer(f"{REWARDS}:reads_all", {})
    fields = ("response", "prompt", "ground_truth", "group_id", "signals", "metadata")
    assert (scorer.runs_in, scorer.reads) == ("worker", fields)


def test_plural_names_take_a_batch() -> None:
    samples = [Sample("a", "46", ground_truth="46"), Sample("b", "45", ground_truth="46")]
    assert [one.value for one in scores("batch", *samples, bonus=0.5)] == [1.5, 0.5]


@pytest.mark.parametrize(
    ("response", "value", "said"),
    [
        ("none", None, "returned None: it could not score this sample"),
        ("none, told", None, "returned None: it could not score this sample"),
        ("true", 1.0, ""),
        ("numpy", 0.5, ""),
        ("pair", 0.25, ""),
        ("text", None, "returned '1.0'; expected a number, a bool, None, or a pair"),
        ("list", None, "returned [1.0]; expected a number"),
    ],
)
def test_what_is_no_number_is_no_score(response: str, value: float | None, said: str) -> None:
    [found] = scores("of_a_kind", Sample("a", response))
    assert found.value == value
    assert (found.error is None) == (value is not None)
    if found.error is not None:
        assert found.error.code == "scorer_failed"
        assert said in found.error.message


@pytest.mark.parametrize(
    ("function", "config", "said"),
    [
        ("short_enough", {"most": 3}, "has no parameter 'most' for its config; it has most_chars"),
        ("short_enough", {"response": "x"}, "config sets 'response', which comes from each sample"),
        ("needs_weight", {}, "nothing fills its parameter 'weight'"),
        ("mixed", {}, "name them all in the plural"),
        ("reads_nothing", {}, "uses no field of a sample"),
        ("nameless", {}, "parameter 'response' is positional only"),
        ("no_such", {}, "cannot be imported"),
        ("__name__", {}, "is a str, neither a class nor a function"),
        ("os.system", {}, "is defined in 'posix', not in 'tests'"),
        ("subprocess.run", {}, "is defined in 'subprocess', not in 'tests'"),
    ],
)
def test_what_cannot_be_called_is_refused_in_one_line(
    function: str, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_scorer(f"{REWARDS}:{function}", config)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_of_another_package_is_not_called_for_a_reward_function() -> None:
    with pytest.raises(ConfigError, match="is defined in 'posix', not in 'tests'"):
        build_scorer(f"trl:{REWARDS}:os.system", {"command": "touch /tmp/never"})


def test_an_object_that_is_called_and_a_decorated_function_are_functions_too() -> None:
    assert [one.value for one in scores("below_four", Sample("a", "abc"))] == [1.0]
    assert [one.value for one in scores("decorated", Sample("a", "abcd"), most=4)] == [1.0]


def test_a_function_that_reads_its_group_sees_all_of_it() -> None:
    samples = [Sample(str(at), response) for at, response in enumerate(["a", "b", "a", "c"])]
    members = [Member(sample, {}) for sample in samples]
    for function in ("share", "shares"):
        scorer = build_scorer(f"{REWARDS}:{function}", {})
        assert scorer.runs_in == "group"
        found = scorer.score(members)
        assert isinstance(found, list)
        assert [one.value for one in found] == [0.5, 0.25, 0.5, 0.25]


def test_an_async_function_is_a_remote_scorer() -> None:
    scorer = build_scorer(f"{REWARDS}:awaited", {"wait_s": 0.001})
    assert scorer.runs_in == "remote"
    samples = [Sample("a", "46", ground_truth="46"), Sample("b", "46"), Sample("c", "5", None, "6")]
    found = asyncio.run(scorer.score(samples))
    assert [one.value for one in found] == [1.0, None, 0.0]
    assert found[1].error is not None


def test_a_function_has_the_version_and_range_that_it_says_or_one_from_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = build_scorer(f"{REWARDS}:versioned", {})
    assert (told.version, told.range) == ("7", (0.0, 9.0))
    monkeypatch.syspath_prepend(tmp_path)
    versions: list[str] = []
    for text in ("return 1.0", "return 1.0 + 1.0"):
        name = f"touchstone_version_{len(text)}"
        (tmp_path / f"{name}.py").write_text(f"def reward(response):\n    {text}\n")
        versions.append(build_scorer(f"{name}:reward", {}).version)
        monkeypatch.delitem(sys.modules, name)
    assert len(set(versions)) == 2
    assert all(len(version) == 12 for version in versions)


def test_a_prefix_is_known_and_has_a_form() -> None:
    assert set(FOREIGN) == set(PREFIXES)
    assert parted("verl:a.b:c") == ("verl", "a.b", "c")
    with pytest.raises(
        ConfigError, match="'tlr' is not a known prefix; use module:attribute, or one of"
    ):
        parted("tlr:a.b:c")


TRL = [
    ("trl_text", {"columns": {"gt_answer": "ground_truth"}}, {}, "46", 1.0),
    ("trl_text", {"columns": {"gt_answer": "metadata.gold"}}, {"gold": "45"}, "46", 0.0),
    ("trl_text", {}, {"gt_answer": "46"}, None, 1.0),
    ("trl_keyword", {}, {}, "46", 1.0),
    ("trl_keyword", {"completions": "chat"}, {}, "45", 0.0),
    ("trl_made", {"longest": 2}, {}, None, 1.0),
    ("trl_made", {"longest": 1}, {}, None, 0.0),
]


@pytest.mark.parametrize(("function", "config", "metadata", "truth", "value"), TRL)
def test_a_function_in_trls_form_gets_its_columns(
    function: str, config: dict[str, Any], metadata: dict[str, Any], truth: Any, value: float
) -> None:
    scorer = build_callable(f"trl:{REWARDS}:{function}", config)
    [found] = scorer.score([Sample("a", "46", "6 + 40?", truth, metadata=metadata)])
    assert found.value == value


def test_a_column_that_is_nowhere_is_a_missing_field_and_never_a_score() -> None:
    scorer = build_callable(f"trl:{REWARDS}:trl_text", {})
    sample = Sample("a", "46", "6 + 40?", "46")
    [found] = scorer.score([sample])
    assert found.error is not None
    assert found.error.code == "missing_field"
    assert "column 'gt_answer' is not in metadata; send it, or map it" in found.error.message
    with pytest.raises(KeyError):  # which the engine turns into this sample's scorer_failed
        build_callable(f"trl:{REWARDS}:trl_keyword", {}).score([Sample("a", "46")])


def test_an_async_function_in_trls_form_may_leave_samples_out() -> None:
    scorer = build_scorer(f"trl:{REWARDS}:trl_async", {})
    assert scorer.runs_in == "remote"
    samples = [Sample("a", "46", ground_truth="46"), Sample("b", "46", ground_truth="?")]
    found = asyncio.run(scorer.score([*samples, Sample("c", "46")]))
    assert [one.value for one in found] == [1.0, None, None]
    assert [one.error and one.error.code for one in found] == [
        None,
        "scorer_failed",
        "missing_field",
    ]


@pytest.mark.parametrize(
    ("name", "config", "sample", "value", "told"),
    [
        ("easyr1:{}:easyr1_batch", {}, Sample("a", "46", None, "46"), 0.1, {"length": 2.0}),
        ("easyr1:{}:easyr1_batch", {"weight": 2}, Sample("a", "46", None, "46"), 2.0, {}),
        ("easyr1:{}:easyr1_one", {}, Sample("a", "46", metadata={"response_length": 9}), 4.5, {}),
        ("ms_swift:{}:SwiftReward", {}, Sample("a", "46 ", None, {"worth": 7}), 7.0, {}),
        ("ms_swift:{}:SwiftReward", {"least": 4}, Sample("a", "46", None, {"worth": 7}), 0.0, {}),
        (
            "verifiers:{}:verifiers_parsed",
            {"parser": "parser"},
            Sample("a", "It is\n46", None, 46),
            1.0,
            {},
        ),
    ],
)
def test_functions_in_the_forms_of_other_trainers(
    name: str, config: dict[str, Any], sample: Sample, value: float, told: dict[str, Any]
) -> None:
    name = name.format(REWARDS)
    [found] = build_callable(name, config).score([sample], explain=True)
    assert found.value == value
    assert found.explanation is not None
    assert found.explanation.items() >= told.items()


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("ms_swift:{}:SwiftReward", {"most": 3}, "has no parameter 'most' for its config"),
        ("verifiers:{}:verifiers_parsed", {"parser": "none"}, "takes a parser .*no attribute"),
        ("easyr1:{}:short_enough", {}, "needs 'response', which is not passed to such"),
    ],
)
def test_a_function_in_another_form_is_refused(
    name: str, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        build_scorer(name.format(REWARDS), config)
