"""Score the option chosen by a response, found by letter, in prose of 26 languages, or by text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from touchstone_rewards.reward_server.schemas import Sample, is_list, is_object
from touchstone_rewards.reward_server.scorers.math.extract import (
    PLACES,
    FoundAnswer,
    find_answer,
    find_boxes,
    retracted,
)
from touchstone_rewards.reward_server.scorers.math.extraction.places import Place
from touchstone_rewards.reward_server.scorers.rules.rule import (
    Rule,
    RuleConfig,
    RulePlace,
    RuleVerdict,
    Unscorable,
    shown,
    truths,
)
from touchstone_rewards.reward_server.scorers.rules.words import squad_normalized

LETTERS = "ABCDEFGHIJ"
MOST_OPTIONS = 26
READ_CHARS = 2_000  # of an answer; a longer one is not an option
MAX_BOXES = 64
# A leading option letter: `B`, `(b)`, `B.`, `**B)** Paris`.
_LEADING = re.compile(r"[\s(\[（【{*$\"'“]{0,8}([A-Za-z])(?![^\W_])[\s)\]）】}.:：、*$\"'”]{0,12}")
_WORD_BEFORE = re.compile(
    r"\s{0,8}(?:the\s{1,3})?(?:correct\s{1,3})?(?:option|choice|answer|letter|选项|選項|опция|вариант"
    r"|opción|opção|antwort|réponse)\b[\s:]{0,8}",
    re.IGNORECASE,
)
_JOINT = re.compile(r"[,;/&+、，和]|\b(?:and|or|und|oder|et|ou|y|o|и|или)\b")
_LATEX = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s?")
_ALONE_ON_LINE = re.compile(r"^[ \t(\[*]{0,4}([A-Z])[ \t)\].:*]{0,4}$", re.MULTILINE)


class ChoiceConfig(RuleConfig):
    """Config of `choice`."""

    letters: str = Field(
        default=LETTERS, min_length=2, max_length=MOST_OPTIONS, description="letters of the options"
    )
    options_from: str = Field(
        default="metadata.options",
        pattern=r"^metadata\..+$",
        description="texts of the options, as a list or by letter; may be missing",
    )
    multiple: bool = Field(
        default=False,
        description="the ground truth may have several letters, all of which must be chosen",
    )
    answer_from: list[Place] = Field(
        default=list(PLACES),
        min_length=1,
        description="places to look for the answer, in this order; as in math",
    )

    @field_validator("letters")
    @classmethod
    def _check(cls, letters: str) -> str:
        if not (letters.isascii() and letters.isalpha() and letters.isupper()):
            raise ValueError(f"{letters!r} must consist of capital letters from A to Z")
        if len(set(letters)) < len(letters):
            raise ValueError(f"{letters!r} has a letter twice")
        return letters


class ChoiceScorer(Rule[ChoiceConfig]):
    """Score 1 if the response chooses exactly the right option, else 0."""

    version = "1"
    runs_in: RulePlace = "worker"  # uses the math scorer's answer search
    config_type = ChoiceConfig
    reads = ("response", "ground_truth", "metadata")

    def judge(self, sample: Sample) -> RuleVerdict:
        options = self._options(sample)
        accepted = [self._truth(text, options) for text in truths(sample)]
        answer = find_answer(sample.response, self.config.answer_from)
        if answer is None:
            return RuleVerdict(0.0, {"rule": "no answer found"})
        if taken_back := retracted(sample.response, answer):
            return RuleVerdict(0.0, {"rule": f"taken back: {shown(taken_back)!r}"})
        chosen = self._chosen(answer.text, options) | self._elsewhere(sample, answer, options)
        if answer.also is not None:
            chosen |= self._chosen(answer.also, options)
        right = chosen in accepted and (self.config.multiple or len(chosen) == 1)
        told = {
            "answer": shown(answer.text),
            "place": answer.place,
            "chosen": sorted(chosen),
            "right": [sorted(one) for one in accepted],
        }
        return RuleVerdict(float(right), told)

    def _options(self, sample: Sample) -> dict[str, str]:
        """Return the normalized option texts by letter; empty if the sample has none.

        Raises:
            Unscorable: they are not a list, or there are more options than letters.
        """
        given = sample.metadata.get(self.config.options_from.partition(".")[2])
        letters = self.config.letters
        if given is None:
            return {}
        if is_object(given):
            named = {letter.strip().upper(): text for letter, text in given.items()}
        elif is_list(given) and len(given) <= len(letters):
            named = dict(zip(letters, given, strict=False))
        else:
            named = {"": given}
        wrong = [at for at, text in named.items() if at not in letters or not _is_text(text)]
        if wrong or "" in named:
            raise Unscorable(
                "bad_ground_truth",
                f"{self.config.options_from} is {str(given)[:80]}; expected a list of at most "
                f"{len(letters)} texts, or an object with a text per letter",
            )
        return {letter: squad_normalized(str(text)) for letter, text in named.items()}

    def _truth(self, text: str, options: Mapping[str, str]) -> frozenset[str]:
        """Return the right letters.

        Raises:
            Unscorable: the ground truth is not one of the options.
        """
        chosen = self._chosen(text, options)
        if chosen and (self.config.multiple or len(chosen) == 1):
            return chosen
        what = f"several options, {sorted(chosen)}: set multiple: true" if chosen else "no option"
        raise Unscorable("bad_ground_truth", f"the ground truth {text[:80]!r} is {what}")

    def _chosen(self, text: str, options: Mapping[str, str]) -> frozenset[str]:
        """Return the letters chosen by an answer, by letter or by the option's text."""
        if len(text) > READ_CHARS:
            return frozenset()
        plain = _LATEX.sub(" ", text)
        if named := self._by_text(plain, options):
            return named
        pieces = [piece for piece in _JOINT.split(plain) if piece.strip()]
        if len(pieces) > 1 and all(self._letter(piece, options) for piece in pieces):
            return frozenset(self._letter(piece, options) or "" for piece in pieces)
        if letter := self._letter(plain, options):
            return frozenset(letter)
        compact = plain.strip(" ()[]{}*$.").replace(" ", "")
        if compact.isupper() and len(set(compact)) == len(compact) <= len(self.config.letters):
            return frozenset(compact) if set(compact) <= set(self.config.letters) else frozenset()
        return frozenset()

    def _letter(self, text: str, options: Mapping[str, str]) -> str | None:
        """Return the option letter at the beginning of a text, or None.

        The rest must be the option's text, if known, and otherwise must not name another option.
        """
        if before := _WORD_BEFORE.match(text):
            text = text[before.end() :]
        found = _LEADING.match(text)
        if found is None or (letter := found[1].upper()) not in self.config.letters:
            return None
        if options and letter not in options:
            return None
        rest = text[found.end() :]
        bare = found[0].strip() == found[1]
        if not rest.strip(" .)*$}\"'"):
            return letter
        if options:
            return letter if squad_normalized(rest) == options[letter] else None
        if bare and not rest[:1].isascii():  # `B です`
            return letter
        others = [word for word in rest.split() if word.strip("().,:*") in self.config.letters]
        return None if bare or others else letter

    def _by_text(self, text: str, options: Mapping[str, str]) -> frozenset[str]:
        given = squad_normalized(text) if options else ""
        return frozenset(letter for letter, option in options.items() if given and option == given)

    def _elsewhere(
        self, sample: Sample, answer: FoundAnswer, options: Mapping[str, str]
    ) -> frozenset[str]:
        """Return the letters in all boxes, or on all lines with only a letter.

        A response that lists every letter has not chosen one.
        """
        if answer.place == "boxed":
            boxes = find_boxes(sample.response, MAX_BOXES)
            return frozenset[str]().union(*(self._chosen(box, options) for box in boxes))
        if answer.place != "last_value":
            return frozenset()
        alone = _ALONE_ON_LINE.findall(sample.response)
        return frozenset(alone) & frozenset(self.config.letters)


def _is_text(text: object) -> bool:
    return isinstance(text, str | int | float) and not isinstance(text, bool)
