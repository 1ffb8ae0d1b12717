"""Build a judge's prompt from a Jinja template, safe against prompt injection by its texts.

Texts of the sample are template values, never template source. They stand between markers whose
number is a hash of the response, so a response cannot contain its own marker.
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
# Sample field behind each template value, beside the response.
SOURCES = {
    "reference": "ground_truth",
    "other": "ground_truth",
    "question": "prompt",
    "criteria": "metadata",
    "metadata": "metadata",
}
MAX_CRITERIA, MAX_WEIGHT = 50, 1e9
# Turn markers of chat templates: inside a text they would end our turn.
_TURN_MARKS = re.compile(r"<(?=[|｜]|/?s>|(?:start|end)_of_turn>|[be]os>)|\[(?=/?INST\])")


class Rubric(NamedTuple):
    """Criteria and their weights, in order; a negative weight counts against the response."""

    criteria: list[str]
    weights: list[float]


class JudgePrompt:
    """Prompt template: the name of a built-in one, or the path of a file.

    `reads`: sample fields that it needs. `compares`: it uses a second response. `digest`: hash of
    the template's text.
    """

    def __init__(self, name: str) -> None:
        built_in = name.removesuffix(".jinja")
        path = FOLDER / f"{built_in}.jinja" if built_in in BUILT_IN else Path(name)
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"prompt {name!r} cannot be read: {type(error).__name__}; use one of "
                f"{', '.join(BUILT_IN)} or the path of a Jinja file"
            ) from None
        # A prompt is plain text: HTML escaping would change the judged text.
        environment = ImmutableSandboxedEnvironment(
            autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        try:
            named = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ValueError(f"prompt {name!r} is not a Jinja template: {error}") from None
        if missing := {"response", "instruction"} - named:
            raise ValueError(f"prompt {name!r} does not use {{{{ {min(missing)} }}}}")
        self.name = name
        self.compares = "other" in named
        self.form: VerdictForm | None = BUILT_IN.get(built_in)
        read = [field for value, field in SOURCES.items() if value in named]
        self.reads = tuple(dict.fromkeys(read))
        self.digest = sha256(source.encode()).hexdigest()[:12]

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the prompt with these values filled in.

        Raises:
            Unscorable: the template needs a value that the sample lacks.
        """
        try:
            return self._template.render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            message = f"prompt {self.name!r} cannot be filled: {str(error)[:200]}"
            raise Unscorable("missing_field", message) from None


def mark_of(response: str) -> str:
    """Return the hash in the markers around this response."""
    return sha256(response.encode("utf-8", "replace")).hexdigest()[:12]


def quoted(text: str, most_chars: int) -> str:
    """Return a text as shown to a judge: shortened, and with its turn markers broken up.

    A text longer than `most_chars` keeps its beginning and end.

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
    """Return a sample's prompt as one text; several messages are shown with their roles."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    if len(prompt) == 1:
        return text_of_message(prompt[0])
    return "\n\n".join(f"{turn.role}: {text_of_message(turn)}" for turn in prompt)


def rubric_of(metadata: Mapping[str, Any]) -> Rubric:
    """Return the rubric in a sample's metadata.

    It is a list of texts, or of objects with `criterion` and `weight` (or `points`).

    Raises:
        Unscorable: the rubric is missing or has another shape.
    """
    given = metadata.get("rubric")
    if given is None:
        raise Unscorable("missing_field", "metadata.rubric is missing; expected a list of criteria")
    if not is_list(given) or not 1 <= len(given) <= MAX_CRITERIA:
        raise Unscorable(
            "bad_ground_truth", f"metadata.rubric is not a list of 1 to {MAX_CRITERIA} criteria"
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
                f"criterion {place} of metadata.rubric must be a text, or an object with "
                f"criterion and a number as weight, at most {MAX_WEIGHT:.0e}",
            )
        rubric.criteria.append(text)
        rubric.weights.append(float(weight))
    total = sum(weight for weight in rubric.weights if weight > 0)
    if total <= 0:
        raise Unscorable("bad_ground_truth", "metadata.rubric has no positive weight")
    return rubric
