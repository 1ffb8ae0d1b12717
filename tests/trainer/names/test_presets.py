"""Presets by name: their fields exist and fit together, and the user's settings take precedence."""

from __future__ import annotations

from typing import Any

import pytest

from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import given_fields, parse_config
from touchstone_rewards.trainer.data.rows import read_template
from touchstone_rewards.trainer.grpo.command import GrpoConfigs
from touchstone_rewards.trainer.grpo.config import GrpoArguments
from touchstone_rewards.trainer.names.presets import PRESETS

ON_CPU = ["--bf16=false", "--use_cpu=true", "--max_completion_length=8"]


def fields_of(words: list[str]) -> dict[str, Any]:
    configs = parse_config(GrpoConfigs, words, "trainer grpo")
    configs.settings.apply(configs.args, given_fields(words, GrpoConfigs))
    configs.learning.check(configs.args, configs.settings)
    # The first dataclass with a name: a section has some of them again.
    return {name: value for config in configs[::-1] for name, value in vars(config).items()}


@pytest.mark.parametrize("name", PRESETS)
def test_the_fields_of_a_preset_are_set(name: str) -> None:
    found = fields_of(["--preset", name, *ON_CPU])
    ours = set(GrpoArguments.__dataclass_fields__)
    for field, value in PRESETS[name].fields.items():
        if field != "max_completion_length":
            assert found[field] == value or field in ours, field
    assert PRESETS[name].source


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grpo", {"loss_type": "grpo", "scale_rewards": "group", "beta": 0.04}),
        ("dr_grpo", {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.0}),
        ("dapo", {"loss_type": "dapo", "epsilon_high": 0.28, "refill_groups": 3}),
        ("gspo", {"importance_sampling_level": "sequence", "epsilon": 3e-4}),
        ("cispo", {"loss_type": "cispo", "epsilon_high": 5.0}),
        ("rloo", {"loss_type": "dr_grpo", "epsilon": 1e9, "advantage": "leave_one_out"}),
        ("reinforce", {"loss_type": "dr_grpo", "epsilon": 1e9, "advantage": "none"}),
        (
            "seed_grpo",
            {
                "lora_r": 8,
                "lora_alpha": 32,
                "lora_target_modules": ["q_proj", "v_proj"],
                "use_peft": True,
                "num_generations": 4,
            },
        ),
    ],
)
def test_what_a_preset_becomes(name: str, expected: dict[str, Any]) -> None:
    found = fields_of([f"--preset={name}", *ON_CPU])
    assert {field: found[field] for field in expected} == expected


def test_what_is_written_down_wins_in_the_words_of_either_project() -> None:
    found = fields_of(["--preset=dr_grpo", "--epsilon=0.1", "--advantage", "group_std", *ON_CPU])
    assert (found["loss_type"], found["epsilon"]) == ("dr_grpo", 0.1)
    assert found["scale_rewards"] == "group"
    found = fields_of(["--preset", "rloo", "--loss_type", "dapo", "--epsilon", "0.3", *ON_CPU])
    assert (found["loss_type"], found["epsilon"]) == ("dapo", 0.3)
    assert (found["advantage"], found["clip"]) == ("leave_one_out", None)


def test_the_list_names_each_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["grpo", "--preset", "list"])
    assert not end.value.code
    shown = capsys.readouterr().out
    assert all(name in shown and preset.source in shown for name, preset in PRESETS.items())


def test_an_unknown_preset_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grpo", "--preset=grpoo"]) == 2
    assert "no preset 'grpoo'; expected one of grpo, dr_grpo" in capsys.readouterr().err


def test_the_seed_s_preset_asks_for_tags_and_a_box() -> None:
    template = read_template(str(PRESETS["seed_grpo"].fields["prompt_template"]))
    assert isinstance(template, list)
    system, user = template
    for part in ("<think>", "</think><answer>", "\\boxed{", "</answer>"):
        assert part in system["content"]
    assert user == {"role": "user", "content": "{question}"}
