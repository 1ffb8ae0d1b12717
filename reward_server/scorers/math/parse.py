"""An answer's text in, its tree out: precedence climbing over tokens, linear and of bounded depth.

LaTeX and plain text are one language here. It says what stands there, not what it is worth: that
`(1, 2)` may be a point or an interval is for `equal` to settle.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq

from reward_server.scorers.math.atoms import (
    base_literal,
    number,
    read_environment,
    repeating_decimal,
    split_digit,
)
from reward_server.scorers.math.symbols import INVERSE
from reward_server.scorers.math.tokens import Tokens, tokenize
from reward_server.scorers.math.tree import Node, Unreadable

MAX_DEPTH = 48

RELATIONS = frozenset(
    ["=", "<", ">", "<=", ">=", "!=", "~", "in", "notin", "equiv", "subset", "->"]
)
SEPARATORS = frozenset([",", ";", "and", "or", "quad", "\\\\"])
CLOSERS = frozenset(["end", ")", "]", "}", "\\}", "&", "rfloor", "rceil", "norm_close"])
# What may begin a factor without a sign before it: 2x, 2(x+1), 2\sqrt{3}.
FACTOR_STARTS = frozenset(
    ["num", "repeating", "name", "const", "func", "(", "[", "frac", "sqrt", "surd", "cbrt", "{", "accent",
     "binom", "lfloor", "lceil", "sum", "prod", "int", "lim", "begin", "empty", "field"]
)  # fmt: skip
# Letters that are functions when a bracket follows: f(x), P(3).
FUNCTION_LETTERS = frozenset("fghFGHuvwPQ") | {"phi", "psi", "delta", "Phi", "Psi", "Gamma"}
TWO, TEN = Node("num", value=fmpq(2)), Node("num", value=fmpq(10))
ONE = Node("num", value=fmpq(1))


class Reader:
    """A place in the tokens, and the grammar's rules as methods, loosest binding first."""

    def __init__(self, tokens: Tokens) -> None:
        self.kinds, self.values = tokens.kinds, tokens.values
        self.gaps, self.plain = tokens.gaps, tokens.plain
        self.at = 0
        self.depth = 0
        self.bars = False  # inside |…|, where the next bar closes
        self.bound: tuple[str, ...] = ()  # indices of the sums around us

    def fail(self, what: str) -> Unreadable:
        return Unreadable(f"{what} at token {self.at} ({self.kinds[self.at]!r})")

    def take(self, kind: str) -> None:
        if self.kinds[self.at] != kind:
            raise self.fail(f"expected {kind!r}")
        self.at += 1

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")

    # ---- answers: lists, relations, words

    def answer(self) -> Node:
        """All tokens as one answer."""
        node = self.clauses()
        while self.kinds[self.at] in (".", "?", "!", '"'):
            self.at += 1
        if self.kinds[self.at] != "end":
            raise self.fail("something is left over")
        return node

    def clauses(self) -> Node:
        """Items with separators between them; one item alone is itself."""
        self.deeper()
        items = [self.clause()]
        joints: set[str] = set()
        while self.kinds[self.at] in SEPARATORS:
            joints |= self.joint()
            if self.kinds[self.at] in CLOSERS or self.kinds[self.at] == ".":
                break
            items.append(self.clause())
        self.depth -= 1
        if len(items) == 1:
            return items[0]
        joints -= {"quad"} if len(joints) > 1 else set()
        if joints >= {",", ";"}:
            raise self.fail("both , and ; separate")
        return Node(
            "list", tuple(items), "or" if "or" in joints else "and" if "and" in joints else ","
        )

    def joint(self) -> set[str]:
        """A run of separators such as `, and`."""
        seen: set[str] = set()
        while (kind := self.kinds[self.at]) in SEPARATORS:
            if kind in seen and kind in ",;":
                raise self.fail("nothing between two separators")
            seen.add(kind)
            self.at += 1
        return seen

    def clause(self) -> Node:
        """An expression or a chain of relations, with a unit or a label behind it."""
        if self.kinds[self.at] == "word":
            return self.worded()
        if self.kinds[self.at] == "choice":
            raise self.fail("a choice")
        first = self.labelled(self.sets())
        if self.kinds[self.at] not in RELATIONS and self.kinds[self.at] != ":":
            return first
        return self.relation(first)

    def relation(self, first: Node) -> Node:
        sides, operators = [first], []
        while self.kinds[self.at] in RELATIONS or self.kinds[self.at] == ":":
            operators.append(self.kinds[self.at])
            self.at += 1
            sides.append(self.labelled(self.sets()))
        if operators.count(":") == len(operators):
            return Node("ratio", tuple(sides))
        if ":" in operators:
            return self.ratio_relation(sides, operators)
        return Node("relation", tuple(sides), tuple(operators))

    def ratio_relation(self, sides: list[Node], operators: list[str]) -> Node:
        """`A : B = 1`: the colons bind tighter than what relates the ratios."""
        grouped: list[list[Node]] = [[sides[0]]]
        kept: list[str] = []
        for operator, side in zip(operators, sides[1:], strict=True):
            if operator == ":":
                grouped[-1].append(side)
            else:
                kept.append(operator)
                grouped.append([side])
        nodes = [g[0] if len(g) == 1 else Node("ratio", tuple(g)) for g in grouped]
        return Node("relation", tuple(nodes), tuple(kept))

    def worded(self) -> Node:
        """Words first: `Area = 6`, `Maximum: 2` and `Sequence 1` name what follows, else text."""
        words = self.words()
        if self.kinds[self.at] in ("=", ":", "~") and self.kinds[self.at + 1] != "end":
            self.at += 1
            return Node("labelled", (self.clause(),), words)
        return Node("text", value=words)

    def words(self) -> str:
        found: list[str] = []
        while self.kinds[self.at] in ("word", "unit") or (
            found and self.plain[self.at] and self.kinds[self.at] in ("name", "const", "'", "for")
        ):
            found.append(self.values[self.at] or self.kinds[self.at])
            self.at += 1
        return " ".join(found)

    def labelled(self, node: Node) -> Node:
        """`node` with the unit or the words that stand behind it."""
        kind = self.kinds[self.at]
        if kind == "unit" or (kind == "*" and self.kinds[self.at + 1] == "unit"):
            if kind == "*":
                self.at += 1
            parts = self.unit_parts()
            if self.kinds[self.at] == "word":
                self.words()
            return Node("quantity", (node,), parts)
        if kind == "word":
            return Node("labelled", (node,), self.words())
        return node

    def unit_parts(self) -> tuple[tuple[str, int], ...]:
        """`cm^2`, `km/h`, `square feet per second` as words with powers."""
        parts: list[tuple[str, int]] = []
        sign = 1
        while (kind := self.kinds[self.at]) in ("unit", "/", "*", "word"):
            word = self.values[self.at]
            if kind == "word" and word.lower() not in (
                "per",
                "square",
                "cubic",
                "squared",
                "cubed",
                "sq",
            ):
                break
            if kind in ("/", "*") and self.kinds[self.at + 1] != "unit":
                break
            self.at += 1
            if kind == "/" or word.lower() == "per":
                sign = -1
            elif kind != "*":
                parts.append((word, sign * self.unit_power()))
        return tuple(parts)

    def unit_power(self) -> int:
        if self.kinds[self.at] != "^":
            return 1
        self.at += 1
        power = self.exponent()
        if power.op == "neg" and power.args[0].op == "num":
            return -int(power.args[0].value.p)
        if power.op != "num" or power.value.q != 1 or power.value.p > 9:
            raise self.fail("power of a unit")
        return int(power.value.p)

    # ---- expressions

    def sets(self) -> Node:
        """Unions, intersections and differences of sums."""
        left = self.sum()
        while (kind := self.kinds[self.at]) in _SET_OPERATIONS:
            self.at += 1
            left = Node(_SET_OPERATIONS[kind], (left, self.sum()))
        return left

    def sum(self) -> Node:
        terms: list[Node] = []
        while True:
            kind = self.kinds[self.at]
            if kind in ("+", "-"):
                sign = self.signs()
                term = self.product()
                terms.append(Node("neg", (term,)) if sign < 0 else term)
            elif kind in ("pm", "mp"):
                self.at += 1
                before = (_sum(terms),) if terms else ()
                terms = [Node(kind, (*before, self.product()))]
            elif not terms:
                terms.append(self.product())
            else:
                return _sum(terms)

    def signs(self) -> int:
        sign = 1
        while (kind := self.kinds[self.at]) in ("+", "-"):
            if kind == "-":
                sign = -sign
            self.at += 1
        return sign

    def product(self) -> Node:
        left = self.factor()
        factors = [left]
        while True:
            kind = self.kinds[self.at]
            if kind == "*" and self.kinds[self.at + 1] != "unit":
                self.at += 1
                factors.append(self.signed_factor())
            elif kind == "/" and self.kinds[self.at + 1] != "unit":
                self.at += 1
                factors = [Node("div", (_product(factors), self.signed_factor()))]
            elif kind == "mod":
                self.at += 1
                factors = [Node("mod", (_product(factors), self.signed_factor()))]
            elif kind in FACTOR_STARTS or (kind == "|" and not self.bars):
                if kind == "num" and factors[-1].op == "num":
                    raise self.fail("two numbers side by side")
                factors.append(self.factor())
            elif kind == "over":
                self.at += 1
                return Node("div", (_product(factors), self.product()))
            else:
                return _product(factors)

    def signed_factor(self) -> Node:
        sign = self.signs()
        node = self.factor()
        return Node("neg", (node,)) if sign < 0 else node

    def factor(self) -> Node:
        """A primary with its powers, factorials, percent signs and degrees."""
        node = self.primary()
        while True:
            kind = self.kinds[self.at]
            if kind == "^":
                node = self.raised(node)
            elif kind == "!" and self.kinds[self.at + 1] != "=":
                self.at += 1
                node = Node("fact", (node,))
            elif kind in ("%", "degree"):
                self.at += 1
                node = Node("percent" if kind == "%" else "degree", (node,))
            elif kind == "_" and node.op == "num":
                node = self.in_base(node)
            else:
                return node

    def raised(self, node: Node) -> Node:
        """`node` and the power behind it; `^\\circ` is a degree sign, `^\\text{th}` nothing."""
        self.at += 1
        kind = self.kinds[self.at]
        braces = kind == "{"
        inner = self.kinds[self.at + 1] if braces else kind
        if inner in ("degree", "'") or self.values[self.at + braces] in _ORDINALS:
            return self.mark(node, braces)
        return Node("pow", (node, self.exponent()))

    def mark(self, node: Node, braces: bool) -> Node:
        self.at += braces
        kind, value = self.kinds[self.at], self.values[self.at]
        self.at += 1
        if kind == "'":
            while self.kinds[self.at] == "'":
                value += "'"
                self.at += 1
        if braces:
            self.take("}")
        if kind == "degree":
            return Node("degree", (node,))
        if kind == "'" and node.op == "name":
            return Node("name", value=node.value + "'" * max(1, len(value)))
        if value in _ORDINALS:
            return node
        raise self.fail("what is raised here")

    def exponent(self) -> Node:
        """One group, number, name or call, with its sign and its own power."""
        self.deeper()
        sign = self.signs()
        node = self.primary()
        if self.kinds[self.at] == "!":
            self.at += 1
            node = Node("fact", (node,))
        if self.kinds[self.at] == "^":
            node = self.raised(node)
        self.depth -= 1
        return Node("neg", (node,)) if sign < 0 else node

    def in_base(self, node: Node) -> Node:
        self.at += 1
        digits = node.note or str(node.value)
        below = self.kinds[self.at]
        written = self.subscript()
        if written is None or not written.isdigit() or below == "end":
            raise self.fail("base of a number")
        return base_literal(digits, int(written))

    # ---- primaries

    def primary(self) -> Node:
        kind = self.kinds[self.at]
        rule = _PRIMARIES.get(kind)
        if rule is None:
            raise self.fail("expected a value")
        return rule(self)

    def literal(self) -> Node:
        node = number(self.values[self.at])
        self.at += 1
        if node.value.q == 1 and self.note_free_integer(node):
            return self.mixed(node)
        return node

    def note_free_integer(self, node: Node) -> bool:
        return "." not in (node.note or "")

    def mixed(self, whole: Node) -> Node:
        """`3\\frac{1}{2}` and `3 1/2`: a whole number and a proper fraction of literals."""
        start, kind = self.at, self.kinds[self.at]
        part: Node | None = None
        if kind == "frac":
            self.at += 1
            above, below = self.argument(), self.argument()
            part = Node("div", (above, below))
        elif kind == "num" and self.kinds[self.at + 1] == "/" and self.kinds[self.at + 2] == "num":
            above, below = number(self.values[self.at]), number(self.values[self.at + 2])
            part = Node("div", (above, below))
            self.at += 3
        if part is not None and _proper(part):
            return Node("add", (whole, part), None, "mixed")
        self.at = start
        return whole

    def money(self) -> Node:
        """`\\$10`: the sign stands before the number."""
        self.at += 1
        amount = self.primary()
        return Node("quantity", (amount,), (("dollar", 1),))

    def repeating(self) -> Node:
        self.at += 1
        return repeating_decimal(self.values[self.at - 1])

    def constant(self) -> Node:
        value = self.values[self.at]
        if value in self.bound:
            return self.name()
        self.at += 1
        return Node("const", value=value)

    def name(self) -> Node:
        """A variable with its subscript and primes, or an unknown function and its arguments."""
        name = self.values[self.at]
        self.at += 1
        index: Node | None = None
        if self.kinds[self.at] == "_":
            start = self.at = self.at + 1
            written = self.subscript()
            if written is not None and (
                written.isdigit() or written not in self.bound and not self.bound
            ):
                name = f"{name}_{written}"
            else:
                self.at = start
                index = self.exponent()
        while self.kinds[self.at] == "'":
            name += "'"
            self.at += 1
        if self.kinds[self.at] == "(" and not self.gaps[self.at] and self.is_call(name):
            return Node("opaque", self.arguments(), name)
        return Node("name", value=name) if index is None else Node("index", (index,), name)

    def is_call(self, name: str) -> bool:
        if name.rstrip("'") in FUNCTION_LETTERS or name.endswith("'"):
            return True
        return self.kinds[self.at + 1] == "num" and self.kinds[self.at + 2] in (")", ",")

    def subscript(self) -> str | None:
        """A subscript as written, `max` or `10` or `n`; None where it is an expression."""
        if self.kinds[self.at] != "{":
            self.at += 1
            return self.values[self.at - 1] or None
        end = self.at + 1
        parts: list[str] = []
        while self.kinds[end] in ("num", "name", "const", "word", "unit", "func", ","):
            parts.append(self.values[end])
            end += 1
        if self.kinds[end] != "}" or not parts:
            return None
        self.at = end + 1
        return "".join(parts)

    def arguments(self) -> tuple[Node, ...]:
        """What stands in the brackets that open here."""
        self.take("(")
        inner = self.inside()
        self.take(")")
        return inner.args if inner.op == "list" else (inner,)

    def inside(self) -> Node:
        """Clauses in brackets of their own: bars of the outside do not close here."""
        bars, self.bars = self.bars, False
        node = self.clauses()
        self.bars = bars
        return node

    def bracket(self) -> Node:
        opening = self.kinds[self.at]
        if opening == "]":
            opening = "("  # ]a, b[ is the open interval
        self.at += 1
        inner = self.inside()
        closing = self.kinds[self.at]
        if closing not in (")", "]", "["):
            raise self.fail("expected a closing bracket")
        self.at += 1
        closing = ")" if closing == "[" else closing
        if inner.op == "list":
            return Node("bracket", inner.args, opening + closing)
        if opening + closing not in ("()", "[]"):
            raise self.fail("unlike brackets around one value")
        return inner if inner.op != "relation" else Node("group", (inner,))

    def braces(self) -> Node:
        self.at += 1
        inner = self.inside()
        if self.kinds[self.at] in ("|", ":"):
            return self.set_builder(inner, "}")
        self.take("}")
        return Node("set", inner.args) if inner.op == "list" else inner

    def set_braces(self) -> Node:
        self.at += 1
        if self.kinds[self.at] == "\\}":
            self.at += 1
            return Node("set")
        bars, self.bars = self.bars, True
        inner = self.clauses()
        self.bars = bars
        if inner.op == "ratio" and len(inner.args) == 2:  # {x : condition}
            raise self.fail("a set builder with a colon")
        if self.kinds[self.at] in ("|", ":"):
            return self.set_builder(inner, "\\}")
        self.take("\\}")
        return Node("set", inner.args if inner.op == "list" else (inner,))

    def set_builder(self, element: Node, closing: str) -> Node:
        self.at += 1
        condition = self.inside()
        self.take(closing)
        return Node("setof", (element, condition))

    def bars_around(self) -> Node:
        self.at += 1
        bars, self.bars = self.bars, True
        self.deeper()
        inner = self.sum()
        self.depth -= 1
        self.bars = bars
        self.take("|")
        if inner.op == "matrix":
            return Node("call", (inner,), "det")
        return Node("call", (inner,), "abs")

    def norm(self) -> Node:
        self.at += 1
        inner = self.sum()
        self.take("norm")
        return Node("call", (inner,), "abs")

    def rounded(self) -> Node:
        kind = self.kinds[self.at]
        self.at += 1
        inner = self.inside()
        self.take("rfloor" if kind == "lfloor" else "rceil")
        return Node("call", (inner,), "floor" if kind == "lfloor" else "ceil")

    def argument(self) -> Node:
        """What a LaTeX command applies to: a group, or one digit, letter or command."""
        kind = self.kinds[self.at]
        if kind == "{":
            self.at += 1
            inner = self.inside()
            self.take("}")
            return inner
        if kind == "num" and len(self.values[self.at]) > 1:
            digit, self.values[self.at] = split_digit(self.values[self.at])
            return number(digit)
        self.deeper()
        node = self.primary()
        self.depth -= 1
        return node

    def fraction(self) -> Node:
        self.at += 1
        return Node("div", (self.argument(), self.argument()))

    def binomial(self) -> Node:
        self.at += 1
        return Node("call", (self.argument(), self.argument()), "binom")

    def root(self) -> Node:
        kind = self.kinds[self.at]
        self.at += 1
        index = TWO if kind != "cbrt" else Node("num", value=fmpq(3))
        if kind == "sqrt" and self.kinds[self.at] == "[":
            self.at += 1
            index = self.inside()
            self.take("]")
        self.deeper()
        inner = self.argument() if self.kinds[self.at] == "{" else self.primary()
        self.depth -= 1
        return Node("call", (inner, index), "root")

    def function(self) -> Node:
        """A function's name, its power or base, and what it is applied to."""
        name = self.values[self.at]
        self.at += 1
        power: Node | None = None
        base: Node | None = None
        while self.kinds[self.at] in ("^", "_"):
            self.at += 1
            if self.kinds[self.at - 1] == "^":
                power = self.exponent()
            else:
                base = self.exponent()
        if name == "sqrt":
            return self.plain_root()
        node = self.applied(name, base)
        if power is None:
            return node
        if power == Node("neg", (ONE,)) and name in INVERSE:
            return Node("call", node.args, INVERSE[name])
        return Node("pow", (node, power))

    def plain_root(self) -> Node:
        self.deeper()
        inner = self.primary()
        self.depth -= 1
        return Node("call", (inner, TWO), "root")

    def applied(self, name: str, base: Node | None) -> Node:
        kind = self.kinds[self.at]
        if kind == "(" or (kind == "[" and not self.gaps[self.at]):
            inner = self.bracket()
            arguments = inner.args if inner.op == "bracket" else (inner,)
        elif kind == "{":
            arguments = (self.argument(),)
            if name == "binom":
                arguments = (*arguments, self.argument())
        else:
            arguments = (self.bare_argument(),)
        if base is not None:
            return Node("call", (*arguments, base), name)
        return Node("call", arguments, name)

    def bare_argument(self) -> Node:
        """`\\sin 2x`: factors side by side, to the next function, sign or bracket."""
        self.deeper()
        sign = self.signs()
        factors = [self.factor()]
        while (kind := self.kinds[self.at]) in _BARE_FACTORS:
            if kind == "*" and self.kinds[self.at + 1] not in _BARE_FACTORS:
                break
            if kind == "*":
                self.at += 1
            factors.append(self.factor())
        if self.kinds[self.at] == "/" and self.kinds[self.at + 1] == "num" and len(factors) == 1:
            self.at += 1
            factors = [Node("div", (factors[0], self.factor()))]
        self.depth -= 1
        node = _product(factors)
        return Node("neg", (node,)) if sign < 0 else node

    def accent(self) -> Node:
        """`\\vec{a}`, `\\overline{AB}`: a name of its own."""
        accent = self.values[self.at]
        self.at += 1
        written = self.subscript()
        if not written:
            raise self.fail(f"\\{accent} of an expression")
        return Node("name", value=f"{accent} {written}")

    def big_operator(self) -> Node:
        """`\\sum_{k=1}^{n}` and what it runs over; a limit or an integral is kept unread."""
        kind = self.kinds[self.at]
        self.at += 1
        below = above = None
        while self.kinds[self.at] in ("^", "_"):
            self.at += 1
            if self.kinds[self.at - 1] == "^":
                above = self.exponent()
            else:
                below = self.limits_below()
        self.deeper()
        bound = self.bound
        if below is not None and below.op == "relation" and below.args[0].value:
            self.bound = (*bound, str(below.args[0].value))
        body = self.product()
        self.bound = bound
        self.depth -= 1
        if kind in ("sum", "prod") and below is not None and above is not None:
            if (
                below.op == "relation"
                and below.value == ("=",)
                and below.args[0].op in ("name", "const")
            ):
                return Node(kind, (below.args[1], above, body), str(below.args[0].value))
        parts = tuple(part for part in (below, above, body) if part is not None)
        return Node("other", parts, kind)

    def limits_below(self) -> Node:
        if self.kinds[self.at] != "{":
            return self.exponent()
        self.at += 1
        if self.kinds[self.at] == "const":
            self.bound = (*self.bound, self.values[self.at])
        inner = self.inside()
        self.take("}")
        return inner

    def environment(self) -> Node:
        return read_environment(self)

    def cell(self) -> Node:
        """One cell of a matrix or line of cases: bars and separators are its own."""
        bars, self.bars = self.bars, False
        self.deeper()
        items = [self.clause()]
        while self.kinds[self.at] in (",", ";", "and", "or", "quad"):
            self.joint()
            if self.kinds[self.at] in ("&", "\\\\", "end"):
                break
            items.append(self.clause())
        self.depth -= 1
        self.bars = bars
        return items[0] if len(items) == 1 else Node("list", tuple(items), ",")

    def empty_set(self) -> Node:
        self.at += 1
        return Node("set")

    def number_field(self) -> Node:
        self.at += 1
        return Node("name", value=f"field {self.values[self.at - 1]}", note="field")


_ORDINALS = frozenset(["th", "st", "nd", "rd"])
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
_BARE_FACTORS = frozenset(["num", "name", "const", "frac", "sqrt", "surd", "*", "{"])


def _sum(terms: list[Node]) -> Node:
    return terms[0] if len(terms) == 1 else Node("add", tuple(terms))


def _product(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))


def _proper(part: Node) -> bool:
    above, below = part.args
    return (
        above.op == below.op == "num"
        and above.value.q == below.value.q == 1
        and 0 < above.value < below.value
    )


_PRIMARIES: dict[str, Callable[[Reader], Node]] = {
    "num": Reader.literal,
    "repeating": Reader.repeating,
    "money": Reader.money,
    "const": Reader.constant,
    "name": Reader.name,
    "func": Reader.function,
    "(": Reader.bracket,
    "[": Reader.bracket,
    "]": Reader.bracket,
    "{": Reader.braces,
    "\\{": Reader.set_braces,
    "|": Reader.bars_around,
    "norm": Reader.norm,
    "lfloor": Reader.rounded,
    "lceil": Reader.rounded,
    "frac": Reader.fraction,
    "binom": Reader.binomial,
    "sqrt": Reader.root,
    "surd": Reader.root,
    "cbrt": Reader.root,
    "accent": Reader.accent,
    "sum": Reader.big_operator,
    "prod": Reader.big_operator,
    "int": Reader.big_operator,
    "lim": Reader.big_operator,
    "begin": Reader.environment,
    "empty": Reader.empty_set,
    "field": Reader.number_field,
}


def parse(text: str) -> Node:
    """The tree of an answer that is already in ASCII.

    Raises:
        Unreadable: this is no answer that the grammar has.
    """
    return Reader(tokenize(text)).answer()
