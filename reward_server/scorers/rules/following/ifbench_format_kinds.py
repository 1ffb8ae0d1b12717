"""IFBench instructions (Pyatkin et al. 2025) about the form of a response, and single tasks.

As in `ifbench_kinds`, a response too short to break an instruction does not follow it.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
import string
import unicodedata
from importlib import import_module
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Any

from touchstone_rewards.reward_server.scorers.rules.following.given import Check, Given
from touchstone_rewards.reward_server.scorers.rules.following.texts import (
    EDGES,
    bare_words,
    sentences,
    tokens,
)

_CLOSES = {")": "(", "]": "[", "}": "{"}
_BRACKETS_DEEP, _QUOTES_DEEP = 5, 3
_QUESTION = re.compile(r"(?:^|\n)\s{0,4}Question \d{1,3}[.|):;]?")
_OPTION = re.compile(r"[A-Ea-e][.|)]\s{0,4}\w")
_FIGURES = re.compile(r"\d+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LETTERS = re.compile(r"\W*[aA]\W*[bB]\W*[cC]")
_SPECIAL = re.compile(r"[^\w\s]")
_MOST_CSV_CHARS, _MOST_ROWS = 100_000, 20
_CITIES = ["ID", "Country", "City", "Year", "Count"]
_PRODUCTS = ["ProductID", "Category", "Brand", "Price", "Stock"]
_STUDENTS = ["StudentID", "Subject", "Grade", "Semester", "Score"]
# Capitals north of 45 degrees, from north to south, as listed by the published checker.
_CAPITALS = [
    "Reykjavik",
    "Helsinki",
    "Oslo",
    "Tallinn",
    "Stockholm",
    "Riga",
    "Moscow",
    "Copenhagen",
    "Vilnius",
    "Minsk",
    "Dublin",
    "Berlin",
    "Amsterdam",
    "Warsaw",
    "London",
    "Brussels",
    "Prague",
    "Luxembourg",
    "Paris",
    "Vienna",
    "Bratislava",
    "Budapest",
    "Vaduz",
    "Chisinau",
    "Bern",
    "Ljubljana",
    "Zagreb",
]
_LEAST_COUNTRIES = 52
_MULTIPLES = [str(number) for number in range(14, 51, 7)]
_TEMPLATE = ("My Answer:", "My Conclusion:", "Future Outlook:")


def nested_brackets(text: str, given: Given) -> bool:
    """Check for brackets nested five deep, of which the innermost is closed."""
    open_: list[str] = []
    deepest = 0
    for char in text:
        if char in "([{":
            open_.append(char)
            deepest = max(deepest, len(open_))
        elif char in _CLOSES:
            if open_ and open_[-1] == _CLOSES[char]:
                open_.pop()
                if deepest >= _BRACKETS_DEEP:
                    return True
            else:
                open_, deepest = [], 0
    return False


def nested_quotes(text: str, given: Given) -> bool:
    """Check for closed quotations nested three deep with alternating quotation marks."""
    open_: list[str] = []
    deepest = 0
    for char in text:
        if open_ and char == open_[-1]:
            open_.pop()
            if deepest - len(open_) >= _QUOTES_DEEP:
                return True
        elif char in "\"'":
            open_.append(char)
            deepest = max(deepest, len(open_))
    return False


def one_of_options(text: str, given: Given) -> bool:
    options = given.text("options")
    separator = "/" if "/" in options else "or" if "or" in options else ","
    known = [option.strip() for option in options.split(separator)]
    if _LETTERS.match(options):
        return text in known
    said = text.strip(EDGES).lower()
    return bool(said) and said in [option.strip(EDGES).lower() for option in known]


def word_a_line(text: str, given: Given) -> bool:
    lines = [words for line in text.split("\n") if (words := bare_words(line))]
    return len(lines) > 1 and all(len(words) == 1 for words in lines)


def emoji_sentences(text: str, given: Given) -> bool:
    """Check that each sentence ends in an emoji, before or after its punctuation mark."""
    found = [sentence.translate(_NO_PUNCTUATION).strip() for sentence in sentences(text)]
    if not found or not all(found):
        return False
    for at, sentence in enumerate(found):
        near = [*sentence[-2:], found[at + 1][0] if at + 1 < len(found) else ""]
        if not any(map(_is_emoji, near)):
            return False
    return True


def _is_emoji(char: str) -> bool:
    return bool(char) and import_module("emoji").is_emoji(char)


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def stairs(text: str, given: Given) -> bool:
    """Check that each line is indented more than the previous one."""
    lines = [line for line in text.split("\n") if line.strip()]
    depths = [len(line) - len(line.lstrip(" ")) for line in lines]
    return len(depths) > 1 and all(one < two for one, two in pairwise(depths))


def quotes_explained(text: str, given: Given) -> bool:
    """Check that text other than a quotation follows each quotation, and that there is one."""
    plain = text.replace("“", '"').replace("”", '"').replace("'\"'", "")
    plain = "".join(plain.split())
    if plain.count('"') < 2 or '""' in plain:
        return False
    return not plain.strip(string.digits + string.punctuation.replace('"', "")).endswith('"')


def bullets_of_kind(text: str, given: Given) -> bool:
    return text.count(given.text("sep")) >= 2


def italic_thesis(text: str, given: Given) -> bool:
    """Check for a thesis in italics, followed by more text."""
    for opening, closing in (("<i>", "</i>"), ("<em>", "</em>")):
        start = text.find(opening)
        end = text.find(closing, start) if start >= 0 else -1
        if end >= 0:
            thesis, behind = text[start + len(opening) : end], text[end + len(closing) :]
            return bool(thesis.strip()) and bool(behind.strip())
    return False


def sub_bullets(text: str, given: Given) -> bool:
    """Check that a `-` follows each `*` before the next, and that there is one."""
    bullets = text.split("*")[1:]
    return bool(bullets) and all("-" in bullet for bullet in bullets)


def sentences_then_bullets(text: str, given: Given) -> bool:
    """Check for at least two sentences, then at least two lines with `*`, and nothing else."""
    before, bullets = 0, 0
    for line in text.split("\n"):
        if line.strip().startswith("*"):
            bullets += 1
        elif bullets and line.strip():
            return False
        else:
            before += len(sentences(line))
    return before >= 2 and bullets >= 2


def output_template(text: str, given: Given) -> bool:
    return all(part in text for part in _TEMPLATE)


def no_whitespace(text: str, given: Given) -> bool:
    return not any(map(str.isspace, text))


def title_case(text: str, given: Given) -> bool:
    """Check that every word starts with a capital, and that there is a word.

    A token fails if it is all lower case, or starts with a lower-case letter before capitals.
    """
    found = [token for token in tokens(text) if token[0].isalpha()]
    broken = (
        token[0].islower() and (token[1:].islower() or token[1:].isupper()) for token in found
    )
    return bool(found) and not any(broken)


def multiples(text: str, given: Given) -> bool:
    return _FIGURES.findall(text) == _MULTIPLES


def four_questions(text: str, given: Given) -> bool:
    """Check for four questions with five options each, every question
    longer than the previous one."""
    if not text.startswith("Question"):
        return False
    found = [piece.strip() for piece in _QUESTION.split(text) if piece.strip()]
    lengths: list[int] = []
    for question in found:
        lines = [line.strip() for line in question.split("\n")]
        options = [at for at, line in enumerate(lines) if _OPTION.match(line)]
        if len(options) != 5:
            return False
        lengths.append(len(" ".join(lines[: options[0]]).strip()))
    return len(lengths) == 4 and all(one < two for one, two in pairwise(lengths))


def _plain(text: str) -> str:
    """Return the text in ASCII, with accents removed."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def countries_reversed(text: str, given: Given) -> bool:
    """Check for Africa's countries, one per line, in reverse alphabetical order from Zimbabwe."""
    lines = [line.strip(EDGES) for line in text.split("\n")]
    lines = [line for line in lines if line]
    start = next((at for at, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    named = [_plain(line) for line in lines[start:]]
    return len(set(named)) >= _LEAST_COUNTRIES and named == sorted(named, reverse=True)


def words_reversed(text: str, given: Given) -> bool:
    """Check for one sentence about the bald eagle with its words in reverse order."""
    turned = " ".join(reversed(bare_words(text.lower())))
    return "bald eagle" in turned and len(sentences(text)) == 1


def letters_reversed(text: str, given: Given) -> bool:
    return "elgae dlab" in text.lower()


def alphabet_story(text: str, given: Given) -> bool:
    found = sentences(text)
    return len(found) == 26 and all(
        sentence[:1].lower() == letter
        for sentence, letter in zip(found, string.ascii_lowercase, strict=True)
    )


def capitals_by_latitude(text: str, given: Given) -> bool:
    return [city.strip() for city in _plain(text).split(",") if city.strip()] == _CAPITALS


def dates(text: str, given: Given) -> bool:
    """Check for comma-separated dates within Napoleon's life."""
    return all(_in_his_life(date.strip()) for date in text.strip().split(","))


def _in_his_life(text: str) -> bool:
    try:
        found = datetime.date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return False
    return found is not None and 1769 <= found.year <= 1821


def _rows(text: str, **form: Any) -> list[list[str]]:
    """Return the first rows of a CSV text, with fields stripped; an empty
    list if it cannot be read."""
    reader = csv.reader(io.StringIO(text[:_MOST_CSV_CHARS]), skipinitialspace=True, **form)
    try:
        return [[cell.strip() for cell in row] for row in islice(reader, _MOST_ROWS)]
    except csv.Error:
        return []


def _is_table(rows: list[list[str]], header: list[str], count: int) -> bool:
    """Tell whether the rows are this header and this many rows of equal width."""
    return (
        len(rows) == count + 1
        and rows[0] == header
        and all(len(row) == len(header) for row in rows)
    )


def csv_cities(text: str, given: Given) -> bool:
    return _is_table(_rows(text), _CITIES, 7)


def csv_special(text: str, given: Given) -> bool:
    """Check for fourteen rows, one of which has a quoted field with a special character."""
    quoted = [cell for line in text.split("\n")[1:] for cell in line.split('"')[1::2]]
    special = any(_SPECIAL.search(cell) for cell in quoted)
    return special and _is_table(_rows(text), _PRODUCTS, 14)


def csv_quoted(text: str, given: Given) -> bool:
    """Check for three tab-separated rows with every field in quotation marks."""
    rows = _rows(text.strip(), delimiter="\t", quoting=csv.QUOTE_NONE)
    quoted = all(len(cell) > 1 and cell[0] == cell[-1] == '"' for row in rows for cell in row)
    return quoted and _is_table([[c.strip('"') for c in row] for row in rows], _STUDENTS, 3)


def start_verb(text: str, given: Given) -> bool:
    raise given.wrong("the kind", "another: whether a word is a verb cannot be checked here")


KINDS: MappingProxyType[str, Check] = MappingProxyType(
    {
        "format:parentheses": nested_brackets,
        "format:quotes": nested_quotes,
        "format:options": one_of_options,
        "format:newline": word_a_line,
        "format:emoji": emoji_sentences,
        "format:line_indent": stairs,
        "format:quote_unquote": quotes_explained,
        "format:list": bullets_of_kind,
        "format:thesis": italic_thesis,
        "format:sub-bullets": sub_bullets,
        "format:no_bullets_bullets": sentences_then_bullets,
        "format:title_case": title_case,
        "format:output_template": output_template,
        "format:no_whitespace": no_whitespace,
        "custom:multiples": multiples,
        "custom:mcq_count_length": four_questions,
        "custom:reverse_newline": countries_reversed,
        "custom:word_reverse": words_reversed,
        "custom:character_reverse": letters_reversed,
        "custom:sentence_alphabet": alphabet_story,
        "custom:european_capitals_sort": capitals_by_latitude,
        "custom:csv_city": csv_cities,
        "custom:csv_special_character": csv_special,
        "custom:csv_quotes": csv_quoted,
        "custom:date_format_list": dates,
        "words:start_verb": start_verb,
    }
)
