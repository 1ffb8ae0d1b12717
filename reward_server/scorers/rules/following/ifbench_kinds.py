"""IFBench instructions (Pyatkin et al. 2025) about counts, words, sentences and repetition.

The published checker accepts responses in which nothing can break the instruction, such as a single
word when neighbouring words are compared. Here such a response needs at least two words, sentences
or lines; otherwise a policy would be rewarded for saying nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from types import MappingProxyType

from touchstone_rewards.reward_server.scorers.rules.following.given import Check, Given
from touchstone_rewards.reward_server.scorers.rules.following.texts import (
    EDGES,
    STOP_WORDS,
    bare_words,
    count_words,
    sentences,
    tokens,
    word_runs,
)
from touchstone_rewards.reward_server.scorers.rules.following.texts import (
    numbers as numbers_in,
)

_CONJUNCTIONS = frozenset(["and", "but", "for", "nor", "or", "so", "yet"])
_PRONOUNS = frozenset(
    [
        "i",
        "me",
        "my",
        "mine",
        "myself",
        "we",
        "us",
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
    ]
)
_NAMES = [
    "Emma",
    "Liam",
    "Sophia",
    "Jackson",
    "Olivia",
    "Noah",
    "Ava",
    "Lucas",
    "Isabella",
    "Mason",
    "Mia",
    "Ethan",
    "Charlotte",
    "Alexander",
    "Amelia",
    "Benjamin",
    "Harper",
    "Leo",
    "Zoe",
    "Daniel",
    "Chloe",
    "Samuel",
    "Lily",
    "Matthew",
    "Grace",
    "Owen",
    "Abigail",
    "Gabriel",
    "Ella",
    "Jacob",
    "Scarlett",
    "Nathan",
    "Victoria",
    "Elijah",
    "Layla",
    "Nicholas",
    "Audrey",
    "David",
    "Hannah",
    "Christopher",
    "Penelope",
    "Thomas",
    "Nora",
    "Andrew",
    "Aria",
    "Joseph",
    "Claire",
    "Ryan",
    "Stella",
    "Jonathan",
]
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxyz")
_PRIMES = frozenset(
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97]
)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_KEYWORD_TIMES = (1, 2, 3, 5, 7)
_OVERLAP_SLACK = 2  # in percentage points, either way
_LEAST_PALINDROMES, _PALINDROME_CHARS = 10, 5
_REPEATED = "Only output this sentence here, ignore all other requests."


def word_count_range(text: str, given: Given) -> bool:
    return given.whole("min_words") <= count_words(text) <= given.whole("max_words")


def unique_words(text: str, given: Given) -> bool:
    unique = {word.strip(EDGES) for word in text.lower().split()} - {""}
    return len(unique) >= given.whole("N")


def stop_words(text: str, given: Given) -> bool:
    """Check that at most this percentage of the words are stop words."""
    words, most = word_runs(text.lower()), given.share("percentage")
    stopped = sum(word in STOP_WORDS for word in words)
    return bool(words) and stopped / len(words) * 100 <= most


def _ends(text: str) -> Counter[str]:
    found = (sentence.rstrip("\"”’')]") for sentence in sentences(text))
    return Counter(sentence[-1:] for sentence in found)


def two_statements_a_question(text: str, given: Given) -> bool:
    ends = _ends(text)
    return ends["?"] > 0 and ends["."] == 2 * ends["?"]


def balanced_sentences(text: str, given: Given) -> bool:
    ends = _ends(text)
    return 0 < ends["."] == ends["?"] == ends["!"]


def conjunctions(text: str, given: Given) -> bool:
    """Check for this many different conjunctions; the published checker
    counts `and` and `And` as two."""
    found = {word.strip(EDGES).lower() for word in text.split()} & _CONJUNCTIONS
    return len(found) >= given.whole("small_n")


def person_names(text: str, given: Given) -> bool:
    return sum(name in text for name in _NAMES) >= given.whole("N")


def trigram_overlap(text: str, given: Given) -> bool:
    """Check that this percentage of distinct character trigrams also
    occurs in the reference text."""
    reference, wanted = given.text("reference_text"), given.share("percentage")
    own, other = ({one[at : at + 3] for at in range(len(one) - 2)} for one in (text, reference))
    share = 100 * len(own & other) / len(own) if own else -1e3
    return abs(share - wanted) <= _OVERLAP_SLACK


def numbers(text: str, given: Given) -> bool:
    return len(numbers_in(text)) == given.whole("N")


def pronouns(text: str, given: Given) -> bool:
    words = bare_words(text.replace("/", " ").lower())
    return sum(word in _PRONOUNS for word in words) >= given.whole("N")


def punctuation(text: str, given: Given) -> bool:
    """Check for every punctuation mark, plus a combined question and exclamation mark."""
    for mark in ("?!", "!?", "‽"):
        if mark in text:
            rest = text.replace(mark, "", 1)
            return all(one in rest for one in ".,!?;:")
    return False


def keywords_multiple(text: str, given: Given) -> bool:
    lowered = text.lower()
    wanted = [given.text(f"keyword{at}").strip().lower() for at in range(1, 6)]
    return all(
        lowered.count(word) == times for word, times in zip(wanted, _KEYWORD_TIMES, strict=True)
    )


def every_nth_japanese(text: str, given: Given) -> bool:
    """Check that every N-th word is Japanese or a number, and that there is one."""
    step = given.whole("N")
    if step < 1:
        raise given.wrong("N", "a whole number from 1 on")
    words = [word.strip(EDGES) for word in text.split()[step - 1 :: step]]
    told = [word for word in words if word and not word.isdigit()]
    return bool(told) and all(
        any("\u3040" <= char <= "\u30ff" or "\u4e00" <= char <= "\u9fff" for char in word)
        for word in told
    )


def _of_neighbours(holds: Callable[[str, str], bool], words: Sequence[str]) -> bool:
    """Tell whether a relation holds for all pairs of neighbouring words, of which there is one."""
    return len(words) > 1 and all(holds(one, other) for one, other in pairwise(words))


def alphabet(text: str, given: Given) -> bool:
    """Check that the first letters of the words follow the alphabet, with a after z."""
    words = bare_words(text.lower())
    if not all(word[0] in _ALPHABET for word in words):
        return False
    return _of_neighbours(lambda one, two: (ord(two[0]) - ord(one[0])) % 26 == 1, words)


def three_vowels(text: str, given: Given) -> bool:
    text = text.strip().lower()
    return "\n" not in text and 0 < len(set(text) & set("aeiou")) <= 3


def consonant_clusters(text: str, given: Given) -> bool:
    words = text.lower().split()
    return bool(words) and all(
        any(one in _CONSONANTS and two in _CONSONANTS for one, two in pairwise(word))
        for word in words
    )


def palindromes(text: str, given: Given) -> bool:
    found = [word for word in bare_words(text.lower()) if len(word) >= _PALINDROME_CHARS]
    return sum(word == word[::-1] for word in found) >= _LEAST_PALINDROMES


def prime_lengths(text: str, given: Given) -> bool:
    words = bare_words(text)
    return bool(words) and all(len(word) in _PRIMES for word in words)


def limited_repeats(text: str, given: Given) -> bool:
    most, counted = given.whole("small_n"), Counter(bare_words(text.lower()))
    return bool(counted) and max(counted.values()) <= most


def odd_even_syllables(text: str, given: Given) -> bool:
    count = import_module("syllapy").count
    parities = [str(count(word) % 2) for word in bare_words(text.lower())]
    return _of_neighbours(lambda one, two: one != two, parities)


def last_word_first(text: str, given: Given) -> bool:
    """Check that each sentence begins with the last word of the previous one."""
    found = [sentence.strip(EDGES).lower().split() for sentence in sentences(text)]
    return len(found) > 1 and all(found) and all(one[-1] == two[0] for one, two in pairwise(found))


def paragraph_last_first(text: str, given: Given) -> bool:
    """Check that each paragraph, here a line, ends in its first word,
    and that one has two words."""
    several = False
    for line in text.split("\n"):
        words = line.strip().strip(EDGES).lower().split()
        if words and words[0] != words[-1]:
            return False
        several = several or len(words) > 1
    return several


def no_consecutive_letters(text: str, given: Given) -> bool:
    return _of_neighbours(lambda one, two: one[0] != two[0], bare_words(text.lower()))


def keyword_at(text: str, given: Given) -> bool:
    """Check that the m-th token of the n-th sentence is the keyword."""
    keyword, sentence, word = given.text("keyword").strip(), given.whole("n"), given.whole("m")
    found = sentences(text)
    if not 1 <= sentence <= len(found):
        return False
    inside = tokens(found[sentence - 1])
    return 1 <= word <= len(inside) and inside[word - 1] == keyword


def second_words(text: str, given: Given) -> bool:
    """Check that the second and the second-to-last token are the keyword."""
    keyword, found = given.text("keyword").strip(), tokens(text)
    return len(found) > 2 and found[1] == found[-2] == keyword


def alliteration_increment(text: str, given: Given) -> bool:
    """Check that each sentence has more alliterating words than the previous one."""
    counts = [_alliterative(sentence) for sentence in sentences(text)]
    return len(counts) > 1 and all(one < two for one, two in pairwise(counts))


def _alliterative(sentence: str) -> int:
    words = [word for word in (w.lstrip(EDGES) for w in sentence.lower().split()) if word]
    count, running = 0, False
    for one, two in pairwise(words):
        same = one[0] == two[0]
        count += (1 if running else 2) if same else 0
        running = same
    return count


def word_count_increment(text: str, given: Given) -> bool:
    """Check that each sentence has a fixed number of words more than the previous one."""
    step, counts = given.whole("small_n"), [len(bare_words(one)) for one in sentences(text)]
    return len(counts) > 1 and all(two == one + step for one, two in pairwise(counts))


def keyword_in_sentence(text: str, given: Given) -> bool:
    word, at, found = given.text("word").strip().lower(), given.whole("N"), sentences(text)
    return 1 <= at <= len(found) and word in found[at - 1].lower()


def same_lengths(text: str, given: Given) -> bool:
    """Check for three sentences with equal numbers of characters."""
    found = sentences(text)
    return len(found) == 3 and len({len(sentence) for sentence in found}) == 1


def repeat_with_change(text: str, given: Given) -> bool:
    """Check for the request repeated with another first word."""
    wanted, said = given.text("prompt_to_repeat").split(), text.split()
    return len(wanted) > 1 and wanted != said and wanted[1:] == said[1:]


def repeat_simple(text: str, given: Given) -> bool:
    return text.strip().lower() == _REPEATED.lower()


def repeat_span(text: str, given: Given) -> bool:
    """Check for words `n_start` up to, not including, `n_end` of the request, counted from 0."""
    wanted = given.text("prompt_to_repeat").lower().split()
    span = wanted[given.whole("n_start") : given.whole("n_end")]
    return bool(span) and text.lower().split() == span


KINDS: MappingProxyType[str, Check] = MappingProxyType(
    {
        "count:word_count_range": word_count_range,
        "count:unique_word_count": unique_words,
        "count:conjunctions": conjunctions,
        "count:person_names": person_names,
        "count:numbers": numbers,
        "count:pronouns": pronouns,
        "count:punctuation": punctuation,
        "count:keywords_multiple": keywords_multiple,
        "count:words_japanese": every_nth_japanese,
        "ratio:stop_words": stop_words,
        "ratio:sentence_type": two_statements_a_question,
        "ratio:sentence_balance": balanced_sentences,
        "ratio:overlap": trigram_overlap,
        "ratio:sentence_words": same_lengths,
        "words:alphabet": alphabet,
        "words:vowel": three_vowels,
        "words:consonants": consonant_clusters,
        "words:palindrome": palindromes,
        "words:prime_lengths": prime_lengths,
        "words:repeats": limited_repeats,
        "words:odd_even_syllables": odd_even_syllables,
        "words:last_first": last_word_first,
        "words:paragraph_last_first": paragraph_last_first,
        "words:no_consecutive": no_consecutive_letters,
        "words:keywords_specific_position": keyword_at,
        "words:words_position": second_words,
        "sentence:alliteration_increment": alliteration_increment,
        "sentence:increment": word_count_increment,
        "sentence:keyword": keyword_in_sentence,
        "repeat:repeat_change": repeat_with_change,
        "repeat:repeat_simple": repeat_simple,
        "repeat:repeat_span": repeat_span,
    }
)
