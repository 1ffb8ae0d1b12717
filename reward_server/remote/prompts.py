"""What a judge is asked: a Jinja template, filled with texts that cannot speak for the judge.

In: a sample. Out: the prompt. Texts are values of the template and never part of it. They stand
between marks whose number follows from the response, so that no response can contain its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from touchstone_rewards.reward_server.remote.verdicts import VerdictForm
from touchstone_rewards.reward_server.schemas import (
    Message,
    is_list,
    is_object,
)
from touchstone_rewards.reward_server.scorers.returned import text_of
from touchstone_rewards.reward_server.scorers.rules.rule import Unscorable
from touchstone_rewards.reward_server.turn_texts import text_of_message

FOLDER = Path(__file__).parent / "prompts"
BUILT_IN: Mapping[str, VerdictForm] = {
    "equivalence": "yes_no",
    "rubric": "rubric",
    "quality": "scale",
    "pairwise": "pair",
}
# Which field of a sample each value of a template comes from, beside the response.
SOURCES = {
    "reference": "ground_truth",
    "other": "ground_truth",
    "question": "prompt",
    "criteria": "metadata",
    "metadata": "metadata",
}
MAX_CRITERIA, MAX_WEIGHT = 50, 1e9
# How chat templates mark turns: inside a text such a mark would be read as the end of our turn.
_TURN_MARKS = re.compile(r"<(?=[|｜]|/?s>|(?:start|end)_of_turn>|[be]os>)|\[(?=/?INST\])")


class Rubric(NamedTuple):
    """Criteria and their weights, in order; a negative weight counts against the response."""

    criteria: list[str]
    weights: list[float]


class JudgePrompt:
    """A template: a built-in one by its name, or a file.

    `reads`: the fields of a sample that it needs. `compares`: it has a second response. `digest`
    changes with the template's text.
    """

    def __init__(self, name: str) -> None:
        built_in = name.removesuffix(".jinja")
        path = FOLDER / f"{built_in}.jinja" if built_in in BUILT_IN else Path(name)
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"prompt {name!r} cannot be read: {type(error).__name__}; say one of "
                f"{', '.join(BUILT_IN)} or the path of a Jinja file"
            ) from None
        # A prompt is plain text: escaping for HTML would change what is judged.
        environment = ImmutableSandboxedEnvironment(
            autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        try:
            named = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ValueError(f"prompt {name!r} is no Jinja template: {error}") from None
        if missing := {"response", "instruction"} - named:
            raise ValueError(f"prompt {name!r} does not use {{{{ {min(missing)} }}}}")
        self.name = name
        self.compares = "other" in named
        self.form: VerdictForm | None = BUILT_IN.get(built_in)
        read = [field for value, field in SOURCES.items() if value in named]
        self.reads = tuple(dict.fromkeys(read))
        self.digest = sha256(source.encode()).hexdigest()[:12]

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the prompt with these values.

        Raises:
            Unscorable: it needs a value that the sample does not have.
        """
        try:
            return self._template.render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            message = f"prompt {self.name!r} cannot be filled: {str(error)[:200]}"
            raise Unscorable("missing_field", message) from None


def mark_of(response: str) -> str:
    """Return the number of the marks around this response."""
    return sha256(response.encode("utf-8", "replace")).hexdigest()[:12]


def quoted(text: str, most_chars: int) -> str:
    """Return a text as a judge sees it: not too long, and without marks of turns.

    Of a longer one the beginning and the end are kept.

    Example:
        >>> quoted("<|im_end|>", 100)
        '< |im_end|>'
    """
    text = text_of(text)
    if len(text) > most_chars:
        half, left_out = most_chars // 2, len(text) - 2 * (most_chars // 2)
        text = f"{text[:half]}\n[{left_out} characters are left out here]\n{text[-half:]}"
    return _TURN_MARKS.sub(lambda found: f"{found[0]} ", text)


def question_of(prompt: str | list[Message] | None) -> str:
    """Return a sample's prompt as one text; of several messages, each with its role."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    if len(prompt) == 1:
        return text_of_message(prompt[0])
    return "\n\n".join(f"{turn.role}: {text_of_message(turn)}" for turn in prompt)


def rubric_of(metadata: Mapping[str, Any]) -> Rubric:
    """Return the rubric in a sample's metadata: a list of texts, or of objects with `criterion` and
    `weight` (or `points`).

    Raises:
        Unscorable: there is none, or it is of another shape.
    """
    given = metadata.get("rubric")
    if given is None:
        raise Unscorable("missing_field", "metadata.rubric is missing: a list of criteria")
    if not is_list(given) or not 1 <= len(given) <= MAX_CRITERIA:
        raise Unscorable(
            "bad_ground_truth", f"metadata.rubric is no list of 1 to {MAX_CRITERIA} criteria"
        )
    rubric = Rubric([], [])
    for place, each in enumerate(given, 1):
        fields = each if is_object(each) else {"criterion": each}
        text, weight = fields.get("criterion"), fields.get("weight", fields.get("points", 1))
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        number = number and abs(weight) <= MAX_WEIGHT
        if not isinstance(text, str) or not text.strip() or not number:
            raise Unscorable(
                "bad_ground_truth",
                f"criterion {place} of metadata.rubric is no text, nor an object with criterion "
                f"and a number as weight, at most {MAX_WEIGHT:.0e}",
            )
        rubric.criteria.append(text)
        rubric.weights.append(float(weight))
    total = sum(weight for weight in rubric.weights if weight > 0)
    if total <= 0:
        raise Unscorable("bad_ground_truth", "the weights of metadata.rubric have no positive sum")
    return rubric
