"""For any expression: it equals itself rewritten, and does not equal itself changed."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from touchstone_rewards.reward_server.scorers.math import (
    UnreadableGroundTruth,
    math_check,
    math_equal,
)
from touchstone_rewards.reward_server.scorers.math.answers.properties import property_in

Tree = int | str | tuple[str, "Tree", "Tree"]

leaves = st.one_of(st.integers(0, 40), st.sampled_from("xyab"))
trees = st.recursive(
    leaves,
    lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner),
    max_leaves=10,
)


def plain(tree: Tree) -> str:
    """Write it fully bracketed, with `*`."""
    if not isinstance(tree, tuple):
        return str(tree)
    return f"({plain(tree[1])}{tree[0]}{plain(tree[2])})"


def latex(tree: Tree) -> str:
    """The LaTeX that a person would write: `\\cdot`, `\\left(`, no bracket around a product."""
    if not isinstance(tree, tuple):
        return f"{{{tree}}}"
    operator, left, right = tree
    if operator == "*":
        return f"{_bracketed(left)} \\cdot {_bracketed(right)}"
    after = _bracketed(right) if operator == "-" else latex(right)
    return f"{latex(left)} {operator} {after}"


def _bracketed(tree: Tree) -> str:
    return f"\\left( {latex(tree)} \\right)" if isinstance(tree, tuple) else latex(tree)


def turned(tree: Tree) -> Tree:
    """Return the same value with the sums and products in reverse order."""
    if not isinstance(tree, tuple):
        return tree
    operator, left, right = tree
    if operator == "-":
        return ("+", ("*", -1, turned(right)), turned(left))
    return (operator, turned(right), turned(left))


def expanded(tree: Tree) -> dict[tuple[str, ...], int]:
    """Return the polynomial: the sorted letters of each monomial to its coefficient."""
    if isinstance(tree, int):
        return {(): tree}
    if isinstance(tree, str):
        return {(tree,): 1}
    left, right = expanded(tree[1]), expanded(tree[2])
    total: dict[tuple[str, ...], int] = {}
    if tree[0] == "*":
        for one, a in left.items():
            for other, b in right.items():
                key = tuple(sorted(one + other))
                total[key] = total.get(key, 0) + a * b
        return total
    for sign, part in ((1, left), (-1 if tree[0] == "-" else 1, right)):
        for key, value in part.items():
            total[key] = total.get(key, 0) + sign * value
    return total


def written_out(polynomial: dict[tuple[str, ...], int]) -> str:
    terms = [f"{value}{''.join(key)}" for key, value in polynomial.items() if value]
    return " + ".join(terms) or "0"


@given(trees)
def test_an_expression_equals_itself_in_latex_and_in_plain_text(tree: Tree) -> None:
    assert math_equal(latex(tree), plain(tree))


@given(trees)
def test_an_expression_equals_itself_reordered(tree: Tree) -> None:
    assert math_equal(plain(turned(tree)), plain(tree))


@given(trees)
def test_an_expression_equals_itself_expanded(tree: Tree) -> None:
    assert math_equal(written_out(expanded(tree)), plain(tree))


@given(trees, st.integers(1, 9), st.sampled_from(["1", "x", "xy", "a"]))
def test_an_expression_differs_from_itself_changed(tree: Tree, by: int, letters: str) -> None:
    changed = f"{plain(tree)} + {by} {letters if letters != '1' else ''}"
    assert not math_equal(changed, plain(tree))


@given(trees, trees)
def test_equality_is_symmetric(one: Tree, other: Tree) -> None:
    there = math_equal(plain(one), plain(other))
    assert there == math_equal(plain(other), plain(one))
    assert there == (_without_zeros(expanded(one)) == _without_zeros(expanded(other)))


def _without_zeros(polynomial: dict[tuple[str, ...], int]) -> dict[tuple[str, ...], int]:
    return {key: value for key, value in polynomial.items() if value}


@given(trees, st.text(alphabet=" \t\n", max_size=3))
def test_white_space_and_braces_do_not_matter(tree: Tree, space: str) -> None:
    spread = latex(tree).replace(" ", f" {space} ")
    assert math_equal(f"{{{spread}}}{space}", plain(tree))


@given(st.fractions(max_denominator=10**6))
def test_a_fraction_equals_its_spellings_and_not_its_neighbours(value: Fraction) -> None:
    above, below = value.numerator, value.denominator
    assert math_equal(f"\\frac{{{above}}}{{{below}}}", f"{above}/{below}")
    assert math_equal(f"-\\dfrac{{{-above}}}{{{below}}}", f"{above}/{below}")
    assert not math_equal(f"\\frac{{{above + 1}}}{{{below}}}", f"{above}/{below}")


@given(st.integers(-(10**60), 10**60))
def test_a_whole_number_equals_its_spellings_and_not_its_neighbour(value: int) -> None:
    assert math_equal(f"{value:,}", str(value))
    assert math_equal(f"${value}.0$", str(value))
    assert not math_equal(str(value + 1), str(value))


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8, unique=True), st.randoms())
def test_a_set_equals_itself_shuffled_and_not_with_one_element_less(values, random) -> None:
    shuffled = values[:]
    random.shuffle(shuffled)
    braces = "\\{{{}\\}}".format
    assert math_equal(braces(", ".join(map(str, shuffled))), braces(", ".join(map(str, values))))
    assert not math_equal(
        braces(", ".join(map(str, values[1:]))), braces(", ".join(map(str, values)))
    )


@given(st.integers(-99, 99), st.integers(1, 50), st.sampled_from(["()", "[]", "(]", "[)"]))
def test_an_interval_equals_its_inequality(low: int, length: int, brackets: str) -> None:
    high = low + length
    interval = f"{brackets[0]}{low}, {high}{brackets[1]}"
    left = "\\le" if brackets[0] == "[" else "<"
    right = "\\le" if brackets[1] == "]" else "<"
    assert math_equal(f"{low} {left} x {right} {high}", interval)
    assert not math_equal(f"{low} {left} x {right} {high + 1}", interval)


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_gets_a_verdict_or_an_unreadable_ground_truth(answer: str, truth: str) -> None:
    try:
        assert math_check(answer, truth).equal in (True, False)
        assert math_equal(answer, truth) in (True, False)
    except UnreadableGroundTruth:
        assume(False)


@given(
    st.text(alphabet="0123456789xyi+-*/^(){}[]\\frac sqrt,.|_=<>!%", min_size=1, max_size=40),
)
@settings(max_examples=300)
def test_a_text_that_can_be_read_is_itself(text: str) -> None:
    try:
        assert math_equal(f"{text} ", text)
    except UnreadableGroundTruth:
        assume(False)


def test_a_condition_without_a_word_is_no_property() -> None:
    assert property_in("\\") is None
