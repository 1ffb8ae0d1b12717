"""Split texts into sentences, words and tokens as IFEval and IFBench do, in linear time."""

from __future__ import annotations

import re
import string
from functools import cache
from importlib import import_module
from typing import Any

_WORD = re.compile(r"\w+")
_FIGURES = re.compile(r"\d+")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
EDGES = string.punctuation + " "
_DOT = "\1"  # a dot that does not end a sentence
# Dots after titles, initials and abbreviations, and in addresses and numbers.
_NO_END = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Lt|Ph|vs|etc|e\.g|i\.e)\.(?=.)|\.(?=(?:com|net|org|io|gov|edu|me)\b)"
    r"|(?<=\d)\.(?=\d)|(?<![A-Za-z])[A-Za-z]\.(?=[ A-Za-z])"
    r"|\b(?:Inc|Ltd|Jr|Sr|Co)\.(?! (?:He|She|It|They|We|But|However|That|This|The)\b)"
)
_SENTENCE = re.compile(r"[^.?!]*+[.?!]++[\"”’')\]]*+|[^.?!]++")
# English stop words.
STOP_WORDS = frozenset(
    [
        "i",
        "me",
        "my",
        "myself",
        "we",
        "our",
        "ours",
        "ourselves",
        "you",
        "your",
        "yours",
        "yourself",
        "yourselves",
        "he",
        "him",
        "his",
        "himself",
        "she",
        "her",
        "hers",
        "herself",
        "it",
        "its",
        "itself",
        "they",
        "them",
        "their",
        "theirs",
        "themselves",
        "what",
        "which",
        "who",
        "whom",
        "this",
        "that",
        "these",
        "those",
        "am",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "have",
        "has",
        "had",
        "having",
        "do",
        "does",
        "did",
        "doing",
        "a",
        "an",
        "the",
        "and",
        "but",
        "if",
        "or",
        "because",
        "as",
        "until",
        "while",
        "of",
        "at",
        "by",
        "for",
        "with",
        "about",
        "against",
        "between",
        "into",
        "through",
        "during",
        "before",
        "after",
        "above",
        "below",
        "to",
        "from",
        "up",
        "down",
        "in",
        "out",
        "on",
        "off",
        "over",
        "under",
        "again",
        "further",
        "then",
        "once",
        "here",
        "there",
        "when",
        "where",
        "why",
        "how",
        "all",
        "any",
        "both",
        "each",
        "few",
        "more",
        "most",
        "other",
        "some",
        "such",
        "no",
        "nor",
        "not",
        "only",
        "own",
        "same",
        "so",
        "than",
        "too",
        "very",
        "s",
        "t",
        "can",
        "will",
        "just",
        "don",
        "should",
        "now",
        "d",
        "ll",
        "m",
        "o",
        "re",
        "ve",
        "y",
        "ain",
        "aren",
        "couldn",
        "didn",
        "doesn",
        "hadn",
        "hasn",
        "haven",
        "isn",
        "ma",
        "mightn",
        "mustn",
        "needn",
        "shan",
        "shouldn",
        "wasn",
        "weren",
        "won",
        "wouldn",
    ]
)


def count_words(text: str) -> int:
    """Return the number of runs of letters, digits and underscores."""
    return len(_WORD.findall(text))


def word_runs(text: str) -> list[str]:
    """Return the runs of letters, digits and underscores."""
    return _WORD.findall(text)


def bare_words(text: str) -> list[str]:
    """Return the words between spaces with all ASCII punctuation removed."""
    return text.translate(_PUNCTUATION).split()


def sentences(text: str) -> list[str]:
    """Return the sentences, split after runs of punctuation marks.

    Example:
        >>> sentences("Dr. No paid 3.50. Really?! Yes")
        ['Dr. No paid 3.50.', 'Really?!', 'Yes']
    """
    flat = _NO_END.sub(lambda found: found[0].replace(".", _DOT), text.replace("\n", " "))
    found = [piece.strip().replace(_DOT, ".") for piece in _SENTENCE.findall(flat)]
    return [piece for piece in found if piece]


def count_sentences(text: str) -> int:
    """Return the number of sentences by Punkt's English model, which IFEval uses."""
    return len(_punkt().tokenize(text))


def tokens(text: str) -> list[str]:
    """Return the tokens by Penn Treebank conventions, sentence by sentence."""
    words = _treebank()
    return [token for sentence in _punkt().tokenize(text) for token in words.tokenize(sentence)]


@cache
def _punkt() -> Any:
    return import_module("punkt").tokenizer_for("english")


@cache
def _treebank() -> Any:
    return import_module("nltk.tokenize.destructive").NLTKWordTokenizer()


def numbers(text: str) -> list[str]:
    """Return the runs of digits; 1,000 is one run."""
    return _FIGURES.findall(text.translate(_PUNCTUATION))
