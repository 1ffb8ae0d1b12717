"""Check that a response is in the expected language and no other."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.schemas import Message, Sample, text_of_turn
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RulePlace,
    RuleVerdict,
    Unscorable,
    as_text,
    check_source,
    field,
    no_part,
    part_of,
    reads_of,
)

# Scripts of each language; Latin if not listed.
_SCRIPTS: dict[str, frozenset[str]] = {
    code: frozenset(scripts.split())
    for codes, scripts in {
        "zh": "CJK",
        "ja": "CJK HIRAGANA KATAKANA",
        "ko": "HANGUL",
        "ru uk bg be mk kk ky mn": "CYRILLIC",
        "sr": "CYRILLIC LATIN",
        "el": "GREEK",
        "he yi": "HEBREW",
        "ar fa ur ps ug": "ARABIC",
        "hi mr ne sa": "DEVANAGARI",
        "bn as": "BENGALI",
        "pa": "GURMUKHI",
        "gu": "GUJARATI",
        "or": "ORIYA",
        "ta": "TAMIL",
        "te": "TELUGU",
        "kn": "KANNADA",
        "ml": "MALAYALAM",
        "si": "SINHALA",
        "th": "THAI",
        "lo": "LAO",
        "km": "KHMER",
        "my": "MYANMAR",
        "ka": "GEORGIAN",
        "hy": "ARMENIAN",
        "am": "ETHIOPIC",
    }.items()
    for code in codes.split()
}
LATIN = frozenset(["LATIN"])
KANA = frozenset(["HIRAGANA", "KATAKANA"])
# Scripts used by only one of the languages: they identify it however short the text is.
_ONE_LANGUAGE = {
    next(iter(scripts)): code
    for code, scripts in _SCRIPTS.items()
    if len(scripts) == 1 and sum(scripts <= other for other in _SCRIPTS.values()) == 1
}
LEAST_KANA = 0.05  # of the letters of a Japanese text
READ_CHARS = 20_000  # enough to identify a language
# Parts without language: code, formulas, addresses, tags.
_NO_PROSE = re.compile(
    r"```[^`]*+```|`[^`\n]*+`|\$\$[^$]*+\$\$|\$[^$\n]*+\$|https?://\S++|</?\w[^<>\n]{0,40}>"
)


class LanguageConfig(RuleConfig):
    """Config of `language`."""

    language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2}$",
        description="ISO 639-1 code for every sample, such as en",
    )
    language_from: str | None = Field(
        default=None,
        pattern=r"^(ground_truth|prompt|metadata\..+)$",
        description="each sample's own: a field with the code, or the prompt's language",
    )
    script_share: float = Field(
        default=0.7,
        gt=0.0,
        le=1.0,
        description="smallest share of letters in the scripts of the language",
    )
    least_letters: int = Field(default=12, ge=1, description="a text with fewer letters scores 0")
    partial: bool = Field(
        default=False,
        description="if the language is right, score the share of letters in its scripts",
    )
    part: ResponsePart = "whole"

    @model_validator(mode="after")
    def _check(self) -> LanguageConfig:
        check_source("language", self.language, self.language_from)
        return self


class LanguageScorer(Rule[LanguageConfig]):
    """Score 1 if the response is in the language and its scripts, else 0;
    an empty response scores 0."""

    version = "1"
    runs_in: RulePlace = "worker"
    config_type = LanguageConfig

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        source = self.config.language_from
        self.reads = reads_of(source) if source else ("response",)
        if self.config.language and self.config.language not in (known := identifier().labels):
            raise ValueError(
                f"language is {self.config.language!r}; the languages are {', '.join(known)}"
            )

    def judge(self, sample: Sample) -> RuleVerdict:
        wanted = self.config.language or self._of_sample(sample)
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        prose = _prose(part)
        scripts = scripts_in(prose)
        letters = scripts.total()
        if not letters:
            return RuleVerdict(0.0, {"rule": "no letters outside of code and formulas"})
        share = sum(scripts[one] for one in _SCRIPTS.get(wanted, LATIN)) / letters
        found = language_of(prose, scripts, self.config.least_letters)
        right = found == wanted and share >= self.config.script_share
        told = {"language": found, "wanted": wanted, "script_share": round(share, 4)}
        return RuleVerdict((share if self.config.partial else 1.0) if right else 0.0, told)

    def _of_sample(self, sample: Sample) -> str:
        source = self.config.language_from or ""
        given: Any = field(sample, source)
        if source == "prompt":
            prose = _prose(_prompt_text(given))
            found = language_of(prose, scripts_in(prose), self.config.least_letters)
            if found is None:
                raise Unscorable("bad_ground_truth", "the prompt is too short to tell its language")
            return found
        code = as_text(given).strip().lower().partition("-")[0]
        if code not in identifier().labels:
            raise Unscorable("bad_ground_truth", f"{source} is {code[:40]!r}, no known language")
        return code


def _prompt_text(prompt: str | list[Message]) -> str:
    """Return the text of the user's last turn in a prompt."""
    if isinstance(prompt, str):
        return prompt
    said = [turn for turn in prompt if turn.role == "user"] or prompt
    return text_of_turn(said[-1].content) if said else ""


def _prose(text: str) -> str:
    return _NO_PROSE.sub(" ", text)


def scripts_in(text: str) -> Counter[str]:
    """Return the number of letters per script in a text.

    Example:
        >>> scripts_in("ok, 好")
        Counter({'LATIN': 2, 'CJK': 1})
    """
    found: Counter[str] = Counter()
    for char, count in Counter(text).items():
        if script := _script(char):
            found[script] += count
    return found


@lru_cache(maxsize=8192)
def _script(char: str) -> str:
    """Return the script of a letter, the first word of its Unicode
    name; "" for other characters."""
    return unicodedata.name(char, "").partition(" ")[0] if char.isalpha() else ""


def language_of(text: str, scripts: Counter[str], least_letters: int) -> str | None:
    """Return the code of a text's language, or None if the text is too short to tell.

    A script used by only one language decides. Han with kana is Japanese, without kana Chinese.
    """
    letters = scripts.total()
    if not letters:
        return None
    most, count = scripts.most_common(1)[0]
    if most in KANA or most == "CJK":
        kana = sum(scripts[one] for one in KANA)
        return "ja" if kana >= LEAST_KANA * (kana + scripts["CJK"]) else "zh"
    if most in _ONE_LANGUAGE and count > letters / 2:
        return _ONE_LANGUAGE[most]
    if letters < least_letters:
        return None
    # The identifier counts n-grams and would name a language even for a text of few distinct ones.
    return identifier().classify(text[:READ_CHARS])[0]


@cache
def identifier() -> Any:
    """Return the language identifier, loaded once per process."""
    langid = import_module("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
