"""The 25 instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911), by their published names.

Keywords are plain texts, not patterns. The published checker accepts responses that it cannot
judge, such as a text too short to identify its language; these checks reject them.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from touchstone_rewards.reward_server.scorers.rules.following.given import Check, Given
from touchstone_rewards.reward_server.scorers.rules.following.texts import (
    count_sentences,
    count_words,
    tokens,
)
from touchstone_rewards.reward_server.scorers.rules.language import (
    identifier,
    language_of,
    scripts_in,
)
from touchstone_rewards.reward_server.scorers.rules.strict_json import NotJson, parse_json
from touchstone_rewards.reward_server.scorers.rules.words import marked, one_spaced

_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ONE_STAR = re.compile(r"\*[^\n*]*+\*")
_TWO_STARS = re.compile(r"\*\*[^\n*]*+\*\*")
_BREAK = re.compile(r"\s?\*\*\*\s?")
_PS = re.compile(r"p\.\s?s\.")
_PPS = re.compile(r"p\.\s?p\.\s?s")
_NUMBERED = re.compile(r"\s?\d")
_FENCES = ("```json", "```Json", "```JSON", "```")


def _language(text: str) -> str | None:
    return language_of(text, scripts_in(text), 1)


def keywords(text: str, given: Given) -> bool:
    lowered = text.lower()
    return all(word.lower() in lowered for word in given.texts("keywords"))


def keyword_frequency(text: str, given: Given) -> bool:
    count = text.lower().count(given.text("keyword").strip().lower())
    return given.compare(count, "frequency", "relation")


def forbidden_words(text: str, given: Given) -> bool:
    lowered = marked(one_spaced(text.lower()))
    return not any(
        marked(one_spaced(word.lower())) in lowered for word in given.texts("forbidden_words")
    )


def letter_frequency(text: str, given: Given) -> bool:
    count = text.lower().count(given.text("letter").lower())
    return given.compare(count, "let_frequency", "let_relation")


def response_language(text: str, given: Given) -> bool:
    wanted = given.text("language")
    if wanted.partition("-")[0] not in identifier().labels:
        raise given.wrong("language", "a code of a known language")
    return _language(text) == wanted.partition("-")[0]


def number_sentences(text: str, given: Given) -> bool:
    return given.compare(count_sentences(text), "num_sentences", "relation")


def number_paragraphs(text: str, given: Given) -> bool:
    """Check the number of paragraphs separated by `***`; only the first
    and the last may be empty."""
    found = _BREAK.split(text)
    wanted = given.whole("num_paragraphs")
    if any(not inner.strip() for inner in found[1:-1]):
        return False
    return sum(1 for paragraph in found if paragraph.strip()) == wanted


def number_words(text: str, given: Given) -> bool:
    return given.compare(count_words(text), "num_words", "relation")


def first_word_of_paragraph(text: str, given: Given) -> bool:
    """Check the number of paragraphs separated by empty lines, and the
    first word of one of them."""
    found = text.split("\n\n")
    count = sum(1 for paragraph in found if paragraph.strip())
    at, wanted = given.whole("nth_paragraph"), given.text("first_word").lower()
    if count != given.whole("num_paragraphs") or not 1 <= at <= count:
        return False
    paragraph = found[at - 1].strip()
    if not paragraph:
        return False
    word = paragraph.split(None, 1)[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower() == wanted


def number_placeholders(text: str, given: Given) -> bool:
    count = 0
    for line in text.split("\n"):
        at = line.find("[")
        while at >= 0 and (end := line.find("]", at)) >= 0:
            count += 1
            at = line.find("[", end)
    return count >= given.whole("num_placeholders")


def postscript(text: str, given: Given) -> bool:
    marker, lowered = given.text("postscript_marker"), text.lower()
    if marker == "P.P.S":
        return _PPS.search(lowered) is not None
    return _PS.search(lowered) is not None if marker == "P.S." else marker.lower() in lowered


def number_bullets(text: str, given: Given) -> bool:
    lines = [line.strip() for line in text.split("\n")]
    stars = sum(1 for line in lines if line[:1] == "*" and line[1:2] not in ("", "*"))
    dashes = sum(1 for line in lines if line[:1] == "-")
    return stars + dashes == given.whole("num_bullets")


def constrained_response(text: str, given: Given) -> bool:
    return any(answer in text for answer in _ANSWERS)


def number_highlights(text: str, given: Given) -> bool:
    stars = [one for one in _ONE_STAR.findall(text) if one.strip("*").strip()]
    pairs = [two for two in _TWO_STARS.findall(text) if two[2:-2].strip()]
    return len(stars) + len(pairs) >= given.whole("num_highlights")


def multiple_sections(text: str, given: Given) -> bool:
    pieces = text.split(given.text("section_spliter"))[1:]
    count = sum(1 for piece in pieces if _NUMBERED.match(piece))
    return count >= given.whole("num_sections")


def json_format(text: str, given: Given) -> bool:
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        parse_json(text.removesuffix("```").strip())
    except NotJson:
        return False
    return True


def title(text: str, given: Given) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if start >= 0 and end > start + 2 and line[start:end].strip("<").rstrip(">").strip():
            return True
    return False


def two_responses(text: str, given: Given) -> bool:
    found = text.split("******")
    if any(not inner.strip() for inner in found[1:-1]):
        return False
    said = [one.strip() for one in found if one.strip()]
    return len(said) == 2 and said[0] != said[1]


def repeat_prompt(text: str, given: Given) -> bool:
    return text.strip().lower().startswith(given.text("prompt_to_repeat").strip().lower())


def ends_with(text: str, given: Given) -> bool:
    return text.strip().strip('"').lower().endswith(given.text("end_phrase").strip().lower())


def capital_words(text: str, given: Given) -> bool:
    count = sum(1 for token in tokens(text) if token.isupper())
    return given.compare(count, "capital_frequency", "capital_relation")


def all_capitals(text: str, given: Given) -> bool:
    return text.isupper() and _language(text.lower()) == "en"


def all_lowercase(text: str, given: Given) -> bool:
    return text.islower() and _language(text) == "en"


def no_comma(text: str, given: Given) -> bool:
    return "," not in text


def quotation(text: str, given: Given) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


KINDS: MappingProxyType[str, Check] = MappingProxyType(
    {
        "keywords:existence": keywords,
        "keywords:frequency": keyword_frequency,
        "keywords:forbidden_words": forbidden_words,
        "keywords:letter_frequency": letter_frequency,
        "language:response_language": response_language,
        "length_constraints:number_sentences": number_sentences,
        "length_constraints:number_paragraphs": number_paragraphs,
        "length_constraints:number_words": number_words,
        "length_constraints:nth_paragraph_first_word": first_word_of_paragraph,
        "detectable_content:number_placeholders": number_placeholders,
        "detectable_content:postscript": postscript,
        "detectable_format:number_bullet_lists": number_bullets,
        "detectable_format:constrained_response": constrained_response,
        "detectable_format:number_highlighted_sections": number_highlights,
        "detectable_format:multiple_sections": multiple_sections,
        "detectable_format:json_format": json_format,
        "detectable_format:title": title,
        "combination:two_responses": two_responses,
        "combination:repeat_prompt": repeat_prompt,
        "startend:end_checker": ends_with,
        "change_case:capital_word_frequency": capital_words,
        "change_case:english_capital": all_capitals,
        "change_case:english_lowercase": all_lowercase,
        "punctuation:no_comma": no_comma,
        "startend:quotation": quotation,
    }
)
