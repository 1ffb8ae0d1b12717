"""The line after the last ####, and remains of decoding behind it."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_check

HOLDS: list[tuple[str, str]] = [
    ("#### 46[PAD]", "46"),
    ("#### 46[PAD][PAD][PAD]", "46"),
    ("#### 46 [/INST]", "46"),
    ("#### 46[EOS]", "46"),
    ("#### 46 <|im_end|>\n<|im_start|>user\nmore", "46"),
    ("#### Answer: 42", "42"),
    ("#### Final Answer\n\n42", "42"),
    ("#### 46</s>", "46"),
    ("#### 46 <pad><pad>", "46"),
    ("#### $46", "46"),
    ("#### **46**", "46"),
    ("#### 46.", "46"),
    ("#### 46 dollars", "46"),
    ("#### x = 46", "46"),
    ("#### 46\n[/INST]", "46"),
    ("#### 46[/ANS]", "46"),
    ("#### 46[END]", "46"),
    ("#### 46<unk>", "46"),
    ("#### 46 <|eot_id|>", "46"),
    ("#### 12 [INST]", "12"),
    ("#### 12[SEP]", "12"),
    ("#### 12</s>[PAD]", "12"),
    ("#### \\boxed{12}", "12"),
    ("#### $12$", "12"),
    ("#### 12%", "12"),
    ("#### 12 (twelve)", "12"),
    ("#### The answer is 12", "12"),
    ("####12", "12"),
]
DOES_NOT_HOLD: list[tuple[str, str]] = [
    ("#### 47[PAD] 46", "46"),
    ("#### 46 or 47", "46"),
    ("#### not 46", "46"),
    ("#### 45\n#### ", "46"),
]


@pytest.mark.parametrize(("response", "truth"), HOLDS)
def test_the_answer_is_found(response: str, truth: str) -> None:
    assert math_check(response, truth).equal


@pytest.mark.parametrize(("response", "truth"), DOES_NOT_HOLD)
def test_no_other_text_is_taken_for_it(response: str, truth: str) -> None:
    assert not math_check(response, truth).equal
