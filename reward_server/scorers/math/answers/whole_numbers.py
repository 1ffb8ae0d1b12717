r"""Read sets of whole numbers and of reals in words and symbols.

`n \equiv 1 \pmod 3`, `all odd integers`, `multiples of 3`, `all real numbers except 2`.

A family is the set of values of some expressions in one whole-number parameter. Further op:

    family   args: the expressions; value: (the parameter's least value or None, whether that is
             stated, values left out); note: (the parameter's name, the name of the values)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.answers.properties import TEXT_COMMAND
from touchstone_rewards.reward_server.scorers.math.answers.relations import put
from touchstone_rewards.reward_server.scorers.math.grammar.atoms import number
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import NUMBER_WORDS
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    WHOLE_LETTERS,
    constant_value,
    features,
)
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

MAX_CHARS = 160
MAX_MODULUS = 10_000
MAX_LISTED = 100  # remainders of `not divisible by`

PARAMETER = Node("name", value="parameter")
# Number fields of whole numbers, and their first values.
FIELD_STARTS: dict[str, int | None] = {"field Z": None, "field N": 1, "field Z+": 1, "field N0": 0}
ZERO = Node("num", value=fmpq(0))
_FUNCTIONS = ("f", "g", "h")  # odd or even in another sense

_ORDERS = {
    "greater than": ">", "more than": ">", "bigger than": ">", "larger than": ">",
    "less than": "<", "smaller than": "<", "at least": ">=", "no less than": ">=",
    "not less than": ">=", "greater than or equal to": ">=", "at most": "<=",
    "no more than": "<=", "less than or equal to": "<=", "not greater than": "<=",
}  # fmt: skip
_ORDER = "|".join(sorted(_ORDERS, key=len, reverse=True))
_BOUND = rf"(?: (?:that are |which are )?(?P<order>{_ORDER}) (?P<bound>-?[0-9]{{1,9}}))?"
_SIGN = r"(?:(?P<sign>positive|negative|non-?negative|non-?positive|non-?zero|natural) )?"
_INTEGER = r"(?:(?:whole |natural )?(?:integers?|numbers?))"
_QUANTITY = r"(?:all |any |every |set of |set of all |only )?"
_SUBJECT = r"(?:(?P<subject>[a-z]) (?:is |are |must be |can be )?(?:any |all |every )?)?"
_BEHIND = r"(?: (?P<behind>[a-z]))?"
_EXCEPT = (
    r"(?:,? (?:except|excluding|other than|but|besides|apart from|except for|not equal to)"
    r" (?:for )?(?P<except>.{1,60}))?"
)
_PARITY = re.compile(
    rf"{_SUBJECT}{_QUANTITY}{_SIGN}(?P<parity>odd|even)(?: (?P<late>positive|negative))?"
    rf"(?: {_INTEGER})?{_BEHIND}{_BOUND}{_EXCEPT}"
)
_WHOLE = re.compile(
    rf"{_SUBJECT}{_QUANTITY}{_SIGN}(?:integers?|(?<=natural )numbers?|whole numbers?){_BEHIND}"
    rf"{_BOUND}{_EXCEPT}"
)
_MULTIPLE = re.compile(
    rf"{_SUBJECT}{_QUANTITY}{_SIGN}(?:{_INTEGER} )?(?:(?P<front>[a-z]) )?"
    r"(?:that are |which are |is )?(?P<not>not )?(?:a )?"
    rf"(?:(?:multiples? of|divisible by) (?P<modulus>[0-9]{{1,5}}|[a-z]{{3,8}})){_EXCEPT}"
)
_REALS = re.compile(rf"{_SUBJECT}{_QUANTITY}{_SIGN}reals?(?: numbers?| values?)?{_BEHIND}{_EXCEPT}")
_COMPARED = re.compile(
    rf"{_SUBJECT}(?:all |any )?(?:reals?|real numbers|real values)(?: (?P<behind>[a-z]))? "
    r"(?:(?:that |which )?(?:is |are ))?"
    rf"(?P<order>{_ORDER}) (?P<bound>[^a-z,]{{1,30}})"
)
_CONGRUENT = re.compile(
    rf"{_SUBJECT}{_QUANTITY}(?:{_INTEGER} )?(?:(?P<front>[a-z]) )?(?:that are |which are )?"
    r"congruent to (?P<rest>[-0-9, orand]{1,30}) (?:modulo|mod) (?P<modulus>[0-9]{1,5})"
)
_SUCH = re.compile(
    r"(?:all|any) (?:(?P<whole>(?:positive )?integers? |whole numbers? )|(?:real )(?:numbers? )?"
    r"|values of )?(?:[a-z] (?:such that|with|where|satisfying|for which) )?(?=[a-z0-9-])",
    re.IGNORECASE,
)
_ORDER_SIGN = re.compile(r"\\(?:ge|geq|geqslant|le|leq|leqslant|ne|neq)(?![a-z])|[<>]|!=")
_DIVIDES = re.compile(
    r"(?P<modulus>[0-9]{1,5}) ?(?P<not>\\mid|\\nmid|\|) ?(?:\( ?)?(?P<subject>[a-z])"
    r"(?: ?(?P<sign>[+-]) ?(?P<rest>[0-9]{1,5}))?(?: ?\))?"
)
_LEFT_OUT = re.compile(
    r"(?:[a-z](?:=|\\neq?))?(-?(?:[0-9]{1,12}(?:\.[0-9]{1,12})?(?:/[0-9]{1,9})?"
    r"|\\frac(?:\{[0-9]{1,9}\}\{[0-9]{1,9}\}|[0-9]\{?[0-9]\}?)))"
)
_IN_REALS = re.compile(r"([a-z]) \\in \\mathbb ?\{?r\}?(?= (?:ex|oth|but|bes|apart))")
_HINT = re.compile(
    "[Aa](?:ll|ny) |odd|even|integer|multiple|divisible|real|natural|whole|form|congruent|except"
)
_FORM = re.compile(
    rf"{_QUANTITY}(?:{_SIGN}{_INTEGER} )?(?:(?P<subject>[a-z]) )?of (?:the )?form "
    r"(?P<form>[^$]{1,60})"
)


def family(
    items: Sequence[Node], start: int | None, letter: str, subject: str | None, said: bool = True
) -> Node:
    """Return the family of all values of `items` for whole `PARAMETER` from `start` on."""
    return Node("family", tuple(items), (start, said, ()), (letter, subject))


def without_subject(node: Node, subject: str | None) -> Node | None:
    """Return the family without its name if that name is `subject`; else None."""
    letter, own = node.note
    if own != subject:
        return None
    return Node("family", node.args, (node.value[0], True, node.value[2]), (letter, None))


def residues(subject: Node, classes: Sequence[Node], modulus: Node, negated: bool = False) -> Node:
    r"""Return `n \equiv 1, 2 \pmod 5` as a family, or as a plain congruence
    unless n is a single letter."""
    plain = [*classes, modulus]
    whole = all(part.op == "num" and part.value.q == 1 for part in plain)
    if subject.op != "name" or not whole or not 0 < modulus.value <= MAX_MODULUS:
        return Node("congruence", (subject, *classes, modulus), "not" if negated else None)
    rests: list[fmpq] = [part.value for part in classes]
    if negated:
        if modulus.value > MAX_LISTED:
            raise Unreadable("too many other remainders")
        left_out = {int(rest.p) % int(modulus.value.p) for rest in rests}
        rests = [fmpq(rest) for rest in range(int(modulus.value.p)) if rest not in left_out]
    items = tuple(_progression(modulus.value, rest) for rest in rests)
    return family(items, None, "k", subject.value, said=False)


def bounded_field(node: Node) -> Node:
    r"""Return the numbers of a field beyond a bound: `\mathbb{R}_{>0}`, `\mathbb{Z}_{\ge 2}`.

    Raises:
        Unreadable: the bound of whole numbers is not a whole number.
    """
    letter, operator = node.value
    (bound,) = node.args
    if letter == "Q" and bound.op == "num" and not bound.value and operator in "<>":
        return Node("name", value="field Q+" if operator == ">" else "field Q-", note="field")
    if letter == "R":
        return regions.half_line(operator, bound, None)
    if operator not in (">", ">=") or bound.op != "num" or bound.value.q != 1:
        raise Unreadable(f"a part of the field {letter}")
    start = int(bound.value.p) + (operator == ">")
    return family((PARAMETER,), max(start, 1) if letter == "N" else start, "k", None)


def _progression(step: fmpq, offset: fmpq) -> Node:
    multiple = Node("mul", (Node("num", value=fmpq(step)), PARAMETER))
    return Node("add", (multiple, Node("num", value=fmpq(offset)))) if offset else multiple


def in_words(text: str, read: Callable[[str], Node]) -> Node | None:
    """Return the set of numbers that `text` describes in words, or None;
    `read` parses its formulas."""
    if len(text) > MAX_CHARS or _HINT.search(text) is None:
        return None
    plain = TEXT_COMMAND.sub(r" \1 ", text).replace("$", " ").replace("\\", " \\")
    said = " ".join(word for word in plain.lower().split() if word not in ("the", "an"))
    said = said.removeprefix("a ").replace(" ,", ",").rstrip(" .,")
    said = _IN_REALS.sub(r"\1 is real", said)
    if said in ("odd", "even"):
        return None  # about a function or a number: a word
    if (found := _PARITY.fullmatch(said)) is not None and _subject(found) not in _FUNCTIONS:
        return _parity(found)
    if (found := _WHOLE.fullmatch(said)) is not None:
        return _left_out(found, _signed(found, 1, 0))
    if (found := _MULTIPLE.fullmatch(said)) is not None:
        return _multiple(found)
    if (found := _REALS.fullmatch(said)) is not None:
        return _real_numbers(found)
    plain = " ".join(plain.split())
    if (found := _FORM.fullmatch(plain)) is not None:
        return _of_the_form(found, read)
    if (found := _CONGRUENT.fullmatch(said)) is not None:
        subject = _subject(found) or "n"
        return read(f"{subject} \\equiv {found['rest']} \\pmod {{{found['modulus']}}}")
    if (found := _COMPARED.fullmatch(said)) is not None:
        return read(f"{_subject(found) or 'x'} {_ORDERS[found['order']]} {found['bound']}")
    if (found := _SUCH.match(plain)) is not None and _ORDER_SIGN.search(plain, found.end()):
        return _such_that(found, read(plain[found.end() :]))
    return None


def _such_that(found: re.Match[str], demand: Node) -> Node | None:
    r"""Return `all integers n \ge 3` or `all real numbers x such that x > 2` as a set."""
    if demand.op != "region":
        return None
    if not found["whole"]:
        return demand
    (part, *more) = demand.args
    low = part.args[0]
    if more or part.args[1] != regions.INFINITY or low.op != "num" or low.value.q != 1:
        return None
    start = int(low.value.p) + (part.value[0] == "(")
    return family((PARAMETER,), start, "k", demand.value)


def divides(text: str) -> Node | None:
    r"""Return `3 \mid n - 1` as the whole numbers with that remainder."""
    found = _DIVIDES.fullmatch(text) if text[0].isdigit() else None
    if found is None or not 0 < int(found["modulus"]) <= MAX_MODULUS:
        return None
    rest = fmpq(int(found["rest"] or 0))
    subject = Node("name", value=found["subject"])
    number_ = Node("num", value=-rest if found["sign"] == "+" else rest)
    modulus = Node("num", value=fmpq(int(found["modulus"])))
    return residues(subject, [number_], modulus, found["not"] == "\\nmid")


def _subject(found: re.Match[str]) -> str | None:
    groups = found.groupdict()
    return groups.get("subject") or groups.get("behind") or groups.get("front")


def _signed(found: re.Match[str], step: int, offset: int) -> Node | None:
    """Return every `step`-th number from `offset`, limited to the sign in the words."""
    groups = found.groupdict()
    sign = (groups.get("sign") or groups.get("late") or "").replace("-", "")
    starts = {"": None, "nonzero": None, "positive": 1, "natural": 1, "nonnegative": 0}
    if sign not in starts:
        return None
    start = starts[sign]
    first = None if start is None else -((offset - start) // step)
    items = (_progression(fmpq(step), fmpq(offset)),)
    made = family(items, first, "k", _subject(found), said=start is not None or step == 1)
    if found.groupdict().get("order"):
        operator = _ORDERS[found["order"]]
        if operator not in (">", ">="):
            return None
        return from_value(made, int(found["bound"]) + (operator == ">"))
    if sign == "nonzero":
        return Node("family", made.args, (None, made.value[1], (ZERO,)), made.note)
    return made


def from_value(node: Node, low: int) -> Node | None:
    """Return the values of a one-progression family from `low` on; None for other families."""
    if len(node.args) != 1:
        return None
    places = [Node("num", value=fmpq(at)) for at in (0, 1)]
    offset, end = (constant_value(put(node.args[0], "parameter", at)) for at in places)
    if not isinstance(offset, fmpq) or not isinstance(end, fmpq) or not end > offset:
        return None
    step = end - offset
    first = int(((low - offset) / step).ceil())
    start = first if node.value[0] is None else max(first, node.value[0])
    return Node("family", node.args, (start, True, node.value[2]), node.note)


def _parity(found: re.Match[str]) -> Node | None:
    return _left_out(found, _signed(found, 2, int(found["parity"] == "odd")))


def _multiple(found: re.Match[str]) -> Node | None:
    written = found["modulus"]
    step = int(written) if written.isdigit() else NUMBER_WORDS.get(written, 0)
    if not 0 < step <= MAX_MODULUS:
        return None
    if not found["not"]:
        return _left_out(found, _signed(found, step, 0))
    if found["sign"] not in (None, "positive", "natural") or step > MAX_LISTED:
        return None
    items = [_progression(fmpq(step), fmpq(rest)) for rest in range(1, step)]
    start = 0 if found["sign"] else None
    return _left_out(
        found, family(items, start, "k", _subject(found), said=bool(start is not None))
    )


def _left_out(found: re.Match[str], made: Node | None) -> Node | None:
    """Return the family without the numbers that the words exclude."""
    if made is None or not found["except"]:
        return made
    numbers = _numbers(found["except"])
    if numbers is None:
        return None
    start, said, before = made.value
    return Node("family", made.args, (start, said, (*before, *numbers)), made.note)


def _numbers(listed: str) -> list[Node] | None:
    """Return `-4`, `0 and 1` or `1, 2, 3` as numbers, or None."""
    parts = listed.replace(" and ", ",").replace(" or ", ",").replace(" ", "").split(",")
    found = [_LEFT_OUT.fullmatch(part) for part in parts if part]
    plain = [part[1] for part in found if part is not None]
    return [_literal(part) for part in plain] if plain and len(plain) == len(found) else None


def _literal(written: str) -> Node:
    digits = re.findall(r"[0-9.]+", written)
    if "frac" in written and len(digits) == 1:
        digits = list(digits[0])
    value: fmpq = number(digits[0]).value
    if len(digits) > 1:
        below = number(digits[1]).value
        if not below:
            raise Unreadable("a fraction with denominator zero")
        value /= below
    return Node("num", value=-value if written.startswith("-") else value)


def _real_numbers(found: re.Match[str]) -> Node | None:
    sign = (found["sign"] or "").replace("-", "")
    operators = {"positive": ">", "negative": "<", "nonnegative": ">=", "nonpositive": "<="}
    subject = _subject(found)
    if sign in operators:
        made = regions.half_line(operators[sign], ZERO, subject)
    elif sign == "natural":
        return None
    else:
        made = regions.region(regions.WHOLE_LINE.args, subject)
    left_out = [ZERO] if sign == "nonzero" else []
    if found["except"]:
        numbers = _numbers(found["except"])
        if numbers is None:
            return None
        left_out += numbers
    return regions.difference(made, regions.points(tuple(left_out))) if left_out else made


def _of_the_form(found: re.Match[str], read: Callable[[str], Node]) -> Node | None:
    """Return `all numbers of the form 4k + 3` as a family."""
    inner = read(found["form"])
    if inner.op in ("family", "conditioned"):
        return inner
    return whole_formula(inner, found["subject"])


def whole_formula(node: Node, subject: str | None) -> Node | None:
    """Return an expression in one letter as the family of its values at whole numbers, or None."""
    items = node.args if node.op == "list" else (node,)
    names = features(*items).names
    if len(names) != 1 or not names <= WHOLE_LETTERS | frozenset("atp"):
        return None
    (letter,) = names
    made = tuple(put(item, letter, PARAMETER) for item in items)
    return family(made, None, letter, subject, said=False)
