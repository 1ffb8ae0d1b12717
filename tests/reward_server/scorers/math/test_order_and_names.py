"""Parts that may not change places: named values, vectors, sets, functions, statements, corners."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_equal

# ground truth, answer
NAMES_SAME = [
    ("x=2,y=3", "y=3,x=2"),
    ("x=2,y=3", "2,3"),
    ("x=2,y=3", "(2,3)"),
    ("x=2,y=3", r"x=2 \text{ and } y=3"),
    ("x=2,x=3", "x=3,x=2"),
    (r"x=2 \text{ or } x=3", "x_1=2, x_2=3"),
    (r"x=2 \text{ or } x=3", "3, 2"),
    ("x_1=2,x_2=3", "3, 2"),
    ("(x,y)=(2,3)", "x=2,y=3"),
    ("(x,y)=(2,3)", "y=3,x=2"),
    ("4,-8", "a=4, b=-8"),
    ("2,3", "n = 2, 3"),
    ("a=1,b=2,c=3", "(1,2,3)"),
    ("a=1,b=2,c=3", "1,2,3"),
    ("a=b=2", "2"),
    (r"x=1 \text{ and } y=2", "x=1, y=2"),
    ("x=1; y=2", "y=2; x=1"),
    ("(a,b,c)=(1,2,3)", "a=1,b=2,c=3"),
    (r"\{x=2,x=3\}", r"\{2,3\}"),
    (r"m=2 \text{ or } m=-2", r"\pm 2"),
    ("(2,3),(3,2)", "(x,y)=(2,3),(3,2)"),
    ("1,2", "x=1, y=2"),
]
NAMES_OTHER = [
    ("x=2,y=3", r"x=3 \text{ or } x=2"),
    ("x=2,y=3", "x=3,y=2"),
    ("x=2,y=3", "3,2"),
    ("x=2,y=3", "(3,2)"),
    ("x=2,y=3", r"x=2 \text{ or } y=3"),
    ("x=2,y=3", "x = 2, 3"),
    ("x=2,x=3", "y=3,y=2"),
    ("(x,y)=(2,3)", "y=2,x=3"),
    ("(x,y)=(2,3)", "x=3,y=2"),
    ("(x,y)=(2,3)", "(y,x)=(2,3)"),
    ("x=2,y=3,z=4", "x=2,y=3,w=4"),
    ("x = 2, y = 3", r"\{2,3\}"),
    ("x=2, y=3", "x=2, x=3"),
    ("x=2, x=3", "x=2, y=3"),
    ("a=1,b=2,c=3", "a=3,b=2,c=1"),
    ("a=1,b=2,c=3", "3,2,1"),
    ("a=1,b=2", "a=1,b=2,c=3"),
    ("a=1,b=2", "a=1"),
    ("x=1; y=2", "y=1; x=2"),
    ("(a,b,c)=(1,2,3)", "c=1,b=2,a=3"),
    ("p=3, q=5", "q=3, p=5"),
    (r"x=2, y=3 \text{ or } x=3, y=2", "x=2,y=3"),
    ("x=3, y=4", "y=4"),
]
COMMAS_SAME = [
    ("1{,}5", "1.5"),
    ("1.5", "1{,}5"),
    ("12{,}34", "12.34"),
    ("(1{,}5; 2{,}5)", "(1.5, 2.5)"),
    ("(1{,}5, 2)", "(1.5, 2)"),
    ("-0{,}125", "-0.125"),
    ("0{,}125", "0.125"),
    ("12345{,}67", "12345.67"),
    ("1{,}234{,}567", "1234567"),
    (r"3{,}14 \cdot 2", "6.28"),
    ("1.22", "1,22"),
    ("3.7", "3,7"),
    ("1{,}500", "1500"),
    ("0.125", "0,125"),
    ("3,7", "3, 7"),
    ("1,22", "1,22"),
    ("12.5", "12,5"),
    ("1,000", "1000"),
    ("0.5", "0,5"),
]
COMMAS_OTHER = [
    ("1{,}5", "15"),
    ("1{,}5", "1,5"),
    ("1{,}500", "1.5"),
    ("3,7", "3.7"),
    ("1,2", "1.2"),
    ("9,10", "9.10"),
    ("58,500", "58.500"),
    ("58.500", "58,500"),
    ("1{,}500", "1.500"),
    ("1.234", "1,234"),
    ("1, 2, 3", "1.2, 3"),
    ("1,000", "1.000"),
    ("1.000", "1,000"),
    ("1,5", "1.5"),
    ("0,5", "0.5"),
    ("-1,5", "-1.5"),
    ("1,2,3", "1,2.3"),
    ("(1,5)", "1.5"),
    ("(1,5)", "(1.5)"),
]
LOGIC_SAME = [
    (r"p \wedge q", r"q \wedge p"),
    (r"p \land q", r"p \wedge q"),
    (r"p \land q \lor r", r"r \lor (p \land q)"),
    (r"\neg p \lor q", r"q \lor \lnot p"),
    (r"p \land q", r"p \text{ and } q"),
    (r"\forall x, x>0", r"\forall x, x>0"),
    (r"\exists x, x>0", r"\exists x, x > 0"),
    (r"x<1 \lor x>3", r"(-\infty,1)\cup(3,\infty)"),
    (r"x<1 \lor x>3", r"x < 1 \text{ or } x > 3"),
    (r"x>1 \land x<3", "(1,3)"),
    (r"x=2 \lor x=3", "2,3"),
    (r"x=2 \land y=3", "x=2, y=3"),
]
LOGIC_OTHER = [
    (r"p \wedge q", r"p \vee q"),
    (r"p \land q \lor r", r"p \lor q \lor r"),
    (r"p \land (q \lor r)", r"p \land q \lor r"),
    (r"p \lor q", r"p \land q"),
    (r"\neg p \lor q", r"p \lor q"),
    (r"p \land q", r"p \text{ or } q"),
    ("p ∧ q", "p ∨ q"),
    (r"\forall x, x>0", r"\exists x, x>0"),
    (r"\forall x, x>0", r"\forall x, x<0"),
    (r"\forall x, \exists y, x<y", r"\exists y, \forall x, x<y"),
    (r"x>1 \land x<3", r"x > 1 \lor x < 3"),
    (r"x=2 \land y=3", r"x=2 \lor y=3"),
    (r"dx \wedge dy", r"dy \wedge dx"),
    (r"\vec a \wedge \vec b", r"\vec b \wedge \vec a"),
]
PRODUCTS_SAME = [
    (r"\vec{a} \times \vec{b}", r"-\vec{b} \times \vec{a}"),
    (r"\vec{a} \times \vec{b}", r"\vec{a} \times \vec{b}"),
    (r"\vec{a}\cdot\vec{b}", r"\vec{b}\cdot\vec{a}"),
    (r"|\vec a \times \vec b|", r"|\vec b \times \vec a|"),
    (r"2\vec{a} \times \vec{b} + \vec c", r"\vec c + 2\vec a \times \vec b"),
    (r"2 \times x", r"x \times 2"),
    (r"a \times b", r"b \times a"),
    (r"3 \times 10^8", r"10^8 \times 3"),
    (r"2 \times A \times B", "2AB"),
    (r"l \times w", r"w \times l"),
    (r"\frac{1}{2} \times b \times h", r"\frac{bh}{2}"),
    (r"f \circ g", r"f \circ g"),
    (r"45^\circ", "45"),
    (r"30 \circ", r"30^\circ"),
]
PRODUCTS_OTHER = [
    (r"\vec{a} \times \vec{b}", r"\vec{b} \times \vec{a}"),
    (r"\vec{a}\cdot\vec{b}", r"\vec{a}\times\vec{b}"),
    (r"\mathbf{a}\cdot\mathbf{b}", r"\mathbf{a}\times\mathbf{b}"),
    (r"\mathbf{a}\times\mathbf{b}", r"\mathbf{b}\times\mathbf{a}"),
    (
        r"\overrightarrow{AB} \times \overrightarrow{AC}",
        r"\overrightarrow{AC} \times \overrightarrow{AB}",
    ),
    (r"A \times B", r"B \times A"),
    ("A × B", "B × A"),
    (r"A \times B \times C", r"C \times B \times A"),
    (r"A \times B", r"A \cdot B"),
    (r"\vec a \times (\vec b + \vec c)", r"(\vec b + \vec c) \times \vec a"),
    (r"\mathbb{R} \times \mathbb{Z}", r"\mathbb{Z} \times \mathbb{R}"),
    (r"\{1,2\} \times \{3\}", r"\{3\} \times \{1,2\}"),
    (r"(1,2,3) \times (4,5,6)", r"(4,5,6) \times (1,2,3)"),
    (r"f \circ g", r"g \circ f"),
    (r"(f \circ g)(x)", r"(g \circ f)(x)"),
    (r"f \circ g", r"f \cdot g"),
]
FIGURES_SAME = [
    (r"\mathbf{A}", "A"),
    (r"\textbf{A}", "A"),
    (r"\angle ABC", r"\angle CBA"),
    (r"\triangle ABC", "ABC"),
    (r"\angle A = 60^\circ", r"\angle A = 60"),
    (r"\angle A = 60^\circ", r"A = 60^\circ"),
    (r"\angle A = 60^\circ", "60"),
    (r"\angle ABC = 40^\circ", r"\angle CBA = 40^\circ"),
    (r"m\angle ABC = 40^\circ", "40"),
    (r"m\angle ABC = 40^\circ", r"\angle ABC = 40^\circ"),
    (r"40^\circ", r"\angle ABC = 40^\circ"),
    (r"\angle BAC + \angle ABC", r"\angle CAB + \angle CBA"),
    (r"\angle 1", r"\angle 1"),
    (r"\square ABCD", "ABCD"),
    (r"\measuredangle ABC", r"\angle ABC"),
    (r"5 \square", "5"),
]
FIGURES_OTHER = [
    (r"P(A \cap B)", r"P(A \cup B)"),
    (r"\bar{x}", "x"),
    (r"\hat{x}", "x"),
    (r"\vec{AB}", r"\vec{BA}"),
    (r"\overline{AB}", r"\overrightarrow{AB}"),
    (r"\max(a,b)", r"\min(a,b)"),
    ("A^T", "A"),
    (r"x \equiv 1 \pmod 5", r"x \equiv 1 \pmod 3"),
    (r"\{x : x > 3\}", r"\{x : x < 3\}"),
    ("a > b", r"a \ge b"),
    ("a < b", "b < a"),
    (r"\angle ABC", r"\angle ACB"),
    (r"\angle ABC", r"\triangle ABC"),
    (r"\triangle ABC", r"\angle ABC"),
    (r"\triangle ABC", r"\triangle BCA"),
    (r"\triangle ABC", r"\triangle ABD"),
    (r"\angle A", r"\angle B"),
    (r"\angle A = 60^\circ", r"\angle B = 60"),
    (r"\angle ABC = 40^\circ", r"\angle ACB = 40^\circ"),
    (r"\angle BAC + \angle ABC", r"\angle BCA + \angle ABC"),
    (r"2\angle A", r"2\angle B"),
    (r"\angle 1", r"\angle 2"),
    (r"\angle \alpha", r"\angle \beta"),
    ("∠ABC", "∠ACB"),
]
COLUMNS_SAME = [
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "[1,2]"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\langle 1,2\rangle"),
]
COLUMNS_OTHER = [
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "[1,2)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2]"),
    ("[1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}"),
]


@pytest.mark.parametrize(("truth", "answer"), NAMES_SAME)
def test_named_values_are_matched_by_name(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), NAMES_OTHER)
def test_named_values_keep_their_names(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), COMMAS_SAME)
def test_a_comma_may_be_a_decimal_point_in_an_answer(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), COMMAS_OTHER)
def test_a_comma_in_a_ground_truth_parts_a_list(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), LOGIC_SAME)
def test_statements_hold_in_any_order(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), LOGIC_OTHER)
def test_connectives_and_quantifiers_count(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), PRODUCTS_SAME)
def test_products_of_numbers_commute(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), PRODUCTS_OTHER)
def test_products_of_vectors_and_sets_do_not_commute(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), FIGURES_SAME)
def test_figures_have_names_of_their_own(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), FIGURES_OTHER)
def test_corners_and_signs_of_figures_count(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), COLUMNS_SAME)
def test_a_column_is_a_point(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), COLUMNS_OTHER)
def test_a_column_is_no_interval(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)
