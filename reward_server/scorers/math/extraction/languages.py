"""Words that announce an answer, by language, as data.

A head is the noun (*answer*, *respuesta*, 答案), in lower case. A link connects it to the answer
(*is*, *lautet*, a colon). To add a language, add its heads here, and its verbs and its *not* to the
link of its family.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

LanguageFamily = Literal["english", "european", "asian", "letter"]


class Head(NamedTuple):
    """Noun of an announcement, with the family of its link and the number format of its language.

    `comma`: the language writes 1.234,5 for 1,234.5. `whole`: the noun must be a separate word.
    """

    word: str
    family: LanguageFamily
    comma: bool = False
    whole: bool = True


def words(listed: str) -> frozenset[str]:
    """Return the words of `listed`."""
    return frozenset(listed.split())


def _heads(
    listed: str, family: LanguageFamily, comma: bool = False, whole: bool = True
) -> list[Head]:
    return [Head(word.replace("_", " "), family, comma, whole) for word in listed.split()]


# Nouns that also announce intermediate steps: after a marked answer they announce no other.
WEAK_WORDS = words(
    "result ergebnis resultado résultat risultato wynik результат 结果 结论 結果 결과"
)
HEADS: tuple[Head, ...] = (
    *_heads("answer answers result correct_option correct_choice ans", "english"),
    *_heads("antwort ergebnis lösung", "european", comma=True, whole=False),  # German
    *_heads("respuesta resultado solución", "european", comma=True),  # Spanish, Portuguese
    *_heads("réponse reponse résultat", "european", comma=True),  # French
    *_heads("risposta risultato", "european", comma=True),  # Italian
    *_heads("resposta", "european", comma=True),  # Portuguese
    *_heads("antwoord", "european", comma=True),  # Dutch
    *_heads("odpowiedź odpowiedz wynik", "european", comma=True),  # Polish
    *_heads("svar svaret", "european", comma=True),  # Swedish, Norwegian, Danish
    *_heads("cevap yanıt", "european", comma=True),  # Turkish
    *_heads("jawaban jawabannya", "european", comma=True),  # Indonesian
    *_heads("jibu", "european"),  # Swahili
    *_heads("ответ результат", "european", comma=True),  # Russian
    *_heads("відповідь", "european", comma=True),  # Ukrainian
    Head("đáp án", "european", comma=True),  # Vietnamese
    Head("đáp số", "european", comma=True),
    Head("câu trả lời", "european", comma=True),
    *_heads("الجواب الإجابة الاجابة", "european"),  # Arabic
    *_heads("उत्तर", "european", whole=False),  # Hindi
    *_heads("উত্তর", "european", whole=False),  # Bengali
    *_heads("คำตอบ", "european", whole=False),  # Thai
    *_heads("సమాధానం", "european", whole=False),  # Telugu
    *_heads("答案 正确选项 结果 结论 答：", "asian", whole=False),  # Chinese
    Head("答:", "asian", whole=False),
    *_heads("答え 正解 解答 結果", "asian", whole=False),  # Japanese
    *_heads("답 정답 결과", "asian", whole=False),  # Korean
    *_heads("选", "letter", whole=False),
)
ASCII_HEADS = tuple(head for head in HEADS if head.word.isascii())

_MARKS = r"[\"'*_`”)】\]}]{0,4}"  # markdown, quotes and brackets between a noun and its link
_COLON = rf"{_MARKS}\s{{0,2}}(?:[:：=＝]|&#58;){_MARKS}"
# Text between a noun and its verb: `the answer to the question, in simplest form, is`.
_BETWEEN = (
    r"(?:\s(?:to|of|for|in|on|we|i|here|then|therefore|thus|now|hence|must|should|would|will|could"
    r"|has|cannot|can['’]t|does|doesn['’]t|after|when|rounded)\b[^\n.:=?!;$\\]{0,60}?"
    r"|,[^\n.:=?!;$\\]{1,40},)?"
)
ENGLISH = re.compile(
    rf"(?:{_COLON}|\s[-–—]{{1,2}}\s(?=[(\[*$]|(?-i:[A-Z](?![a-z])))"
    r"|\s(?=\(?(?-i:[A-J])\)?\.?\s{0,3}$)"
    rf"|{_MARKS}{_BETWEEN}\s{{1,3}}(?:(?:is|are|was|were)(?:n['’]t)?|be|equals|becomes"
    r"|(?:comes|works|turns)\sout\s(?:to\sbe|to|as)|(?:comes|simplifies|reduces)\sto)\b"
    r"(?:\s{1,3}(?:not|never)\b)?"
    r"(?:,?\s{1,3}(?:therefore|thus|hence|then|simply|just|indeed|actually|clearly|exactly|still"
    r"|now|in\sfact|equal\sto|given\sby|as\sfollows|option|choice|letter)\b,?(?!\s{1,3}choices?\b)){0,2}"
    r"\s{0,2}[:：]?)",
    re.IGNORECASE,
)
# Verbs and negations of many languages together: the noun has already determined the language.
EUROPEAN = re.compile(
    rf"(?:{_COLON}|\s?[-–—]{{1,2}}(?=\s)|\s{{1,2}}(?=[-−$\\(\d])|[^\n.:=?!;$\\,]{{0,48}}?"
    r"(?:(?:\s{1,2}(?:no|non|não|nu|не|nie|inte|ikke|không\sphải|ليس|ليست|bukan|si)"
    r"|\s{1,2}n['’])(?=\s{0,2}\w))?"
    r"(?:\s{1,2}|(?<=['’]))(?:ist|lautet|lauten|sind|beträgt|war|wäre|es|son|sería|fue|est|vaut|sont"
    r"|è|sono|é|são|seria|is|luidt|to|brzmi|wynosi|är|er|adalah|yaitu|ialah|là|bằng|ni"
    r"|равен|равна|равно|это|будет|есть|составляет|дорівнює|هو|هي|है|হল|হলো|คือ|అనేది)(?!\w)"
    r"(?:\s{1,2}(?:nicht|pas|not|niet|inte|ikke|не|нет|không))?(?!\w)"
    r"|\s?คือ)"
    r"\s{0,2}[:：]?",
    re.IGNORECASE,
)
ASIAN = re.compile(
    rf"(?:{_COLON}|(?<=[:：])|】|\s?(?:应该|应当|应|就|确实|即)?(?:不|并不)?"
    r"(?:是|为|爲|為|等于|选|は|が|은|는|이)(?:选项|选择|项|選択肢)?)\s{0,2}[:：]?"
)
LETTER = re.compile(
    r"(?:择|答案|项[为是])?\s{0,2}[:：]?\s{0,2}"
    r"(?=[(（【\[]?\s?[A-ZＡ-Ｚ]{1,6}\s?[)）】\]]?\s?(?:[.,;:。，；：*]|\s|$|项|选项|是正确|，))"
)
LINKS: dict[LanguageFamily, re.Pattern[str]] = {
    "english": ENGLISH,
    "european": EUROPEAN,
    "asian": ASIAN,
    "letter": LETTER,
}
# A link that negates the following answer.
NEGATES = re.compile(
    r"\b(?:not|never|cannot|no|non|não|nu|не|nie|inte|ikke|bukan|nicht|pas|niet|нет|không)\b"
    r"|n['’](?:t\b|\s?est)|不|ليس",
    re.IGNORECASE,
)

# Endings after an announced answer that do not belong to it: 12です, 12입니다.
ENDINGS = ("です", "である", "だ", "となります", "になります", "입니다", "이다", "이에요", "예요")
# An announced answer with one of these is negated: it is kept whole and is not a value.
DENIALS = ("ではな", "ではあり", "じゃな", "でない", "아니", "아닙", "不是", "नहीं", "ไม่ใช่", "değil")

# Words of a comment on an answer, which states none: "This answer is correct."
GOOD_WORDS = words(
    "correct right valid verified confirmed reasonable consistent sound sensible plausible accurate"
    " found obtained shown stated boxed below above here in based supposed expected required known"
    " well also checked justified expressed written asked being provided presented supported"
    " derived computed calculated determined clear obvious simple easy straightforward unique final"
    " complete indeed within"
    " richtig korrekt correcta correcto correcte corretta corretto correta certo giusta exacte"
    " верный верен правильный правильно juist benar doğru"
)
BAD_WORDS = words(
    "wrong incorrect invalid mistaken unclear uncertain falsch incorrecta incorrecto incorrecte"
    " fausse faux sbagliata errata errada incorreta неверный неверен неправильный fout salah"
    " yanlış"
)
# Words that describe an answer besides its value: "an integer", "a whole number".
KINDS = words(
    "integer whole positive negative valid natural rational real prime even odd multiple perfect"
    " number fraction decimal percentage single unique same simple"
)
GOOD_STARTS = ("正确的", "对的", "正しい", "합당", "맞")
BAD_STARTS = ("错", "不正确", "不对", "間違", "誤", "틀")
