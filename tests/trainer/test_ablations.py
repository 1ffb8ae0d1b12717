"""The switches of the ablation study mean the same in any order, in a file and as flags."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.trainer.config import given_fields, parse_config
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.command import GrpoConfigs

ON_CPU = ["--bf16=false", "--use_cpu=true"]


def fields_of(words: list[str]) -> dict[str, Any]:
    configs = parse_config(GrpoConfigs, [*words, *ON_CPU], "trainer grpo")
    # The first dataclass with a name: a section has some of them again.
    return {name: value for config in configs[::-1] for name, value in vars(config).items()}


@pytest.mark.parametrize(
    ("loss", "std", "advantage", "clip"),
    [
        ("no_baseline", None, "none", None),
        ("no_baseline", "true", "none", None),
        ("no_baseline", "false", "none", None),
        ("reinforce_with_baseline", None, "group_std", None),
        ("reinforce_with_baseline", "True", "group_std", None),
        ("reinforce_with_baseline", "False", "group_mean", None),
        ("grpo_clip", None, None, True),
        ("grpo_clip", "false", "group_mean", True),
        ("GRPO-No-Clip", "true", "group_std", False),
    ],
)
def test_the_switches_mean_what_the_source_computes_in_any_order_and_place(
    tmp_path: Path, loss: str, std: str | None, advantage: str | None, clip: bool | None
) -> None:
    given = {"loss_type": loss} | ({"use_std_normalization": std} if std else {})
    for order in permutations(given.items()):
        words = [f"--{name}={value}" for name, value in order]
        apart = [word for name, value in order for word in (f"--{name}", value)]
        file = tmp_path / "c.yaml"
        file.write_text("".join(f"{name}: {value}\n" for name, value in order))
        half = tmp_path / "half.yaml"
        half.write_text("".join(f"{name}: {value}\n" for name, value in order[:1]))
        for each in (words, apart, [f"--config={file}"], [f"--config={half}", *words[1:]]):
            found = fields_of(each)
            assert (found["advantage"], found["clip"]) == (advantage, clip), each
            named = {name for name in ("advantage", "clip") if found[name] is not None}
            assert given_fields(each, GrpoConfigs) == named


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--loss_type no_baseline --loss_type grpo_clip", "contradict"),
        ("--loss_type=grpo_clip --loss_type no_baseline", "contradict"),
        ("--use_std_normalization true --use_std_normalization=false", "contradict"),
        ("--loss_type no_baseline --advantage group_std", "means advantage none"),
        ("--advantage group_std --loss_type no_baseline", "means advantage none"),
        ("--use_std_normalization false --advantage group_std", "means advantage group_mean"),
        ("--loss_type grpo_clip --clip false", "means clip True"),
        ("--use_std_normalization maybe", "true or false, not 'maybe'"),
    ],
)
def test_two_that_contradict_each_other_are_refused(
    tmp_path: Path, words: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fields_of(words.split())
    if "=" not in words and words.count("--loss_type") < 2:
        pairs = words.replace("--", "\n").replace(" ", ": ").replace(": \n", "\n")
        (tmp_path / "c.yaml").write_text(pairs.strip() + "\n")
        with pytest.raises(InputError, match=message):
            fields_of([f"--config={tmp_path / 'c.yaml'}"])


def test_a_flag_wins_over_the_file_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("loss_type: no_baseline\n")
    found = fields_of([f"--config={file}", "--loss_type", "grpo_clip"])
    assert (found["advantage"], found["clip"]) == (None, True)
    found = fields_of([f"--config={file}", "--loss_type", "dr_grpo"])
    assert (found["advantage"], found["loss_type"]) == (None, "dr_grpo")
    assert fields_of([f"--config={file}", "--advantage=group_std"])["advantage"] == "group_std"
    file.write_text("advantage: group_std\nloss_type: dr_grpo\n")
    assert fields_of([f"--config={file}", "--loss_type=no_baseline"])["advantage"] == "none"


def test_what_the_sources_scripts_say_and_do_not_use_is_not_used_here() -> None:
    found = fields_of(["--loss_type", "GRPO-No-Clip", "--cliprange", "0.2"])
    assert (found["clip"], found["epsilon"]) == (False, 0.2)
    assert "epsilon" not in given_fields(
        ["--loss_type=grpo_no_clip", "--cliprange=0.1"], GrpoConfigs
    )
    found = fields_of(["--advantage_eps", "1e-6", "--loss_type", "no_baseline"])
    assert (found["advantage"], found["advantage_eps"]) == ("none", None)
