"""The committed table of units agrees with pint's registry."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from touchstone_rewards.reward_server.scorers.math.grammar.unit_table import PREFIXES, UNITS
from touchstone_rewards.reward_server.scorers.math.grammar.units import make_units

pint = pytest.importorskip("pint")

EXACT: Any = Fraction


def test_the_table_is_the_one_that_the_registry_makes() -> None:
    from tests.reward_server.scorers.math.unit_table import TABLE, render

    assert TABLE.read_text(encoding="utf-8") == render()


# What a word means to pint and not here: absorbance, dry barrels, millidays, a parsec by π.
OTHER_TO_PINT = frozenset(["AU", "bbl", "dPa", "mcd", "pc", "kpc", "Mpc", "Gpc"])
OWN_DIMENSIONS = frozenset(
    ["angle", "solid angle", "luminous flux", "illuminance", "revolution", "information", "level"]
)


def test_every_symbol_with_every_prefix_is_worth_what_pint_says() -> None:
    registry = pint.UnitRegistry(non_int_type=EXACT)
    compared = 0
    for _, symbols, prefixes, _, dimensions in UNITS:
        if dimensions[0][0] in OWN_DIMENSIONS:
            continue
        for word in (p + symbol for symbol in symbols.split() for p in ("", *prefixes.split())):
            units = make_units(((word, 1),))
            if not units or word not in registry or word in OTHER_TO_PINT:
                continue
            theirs = registry.Quantity(Fraction(1), word).to_base_units().magnitude
            assert theirs == Fraction(int(units[0].factor.p), int(units[0].factor.q)), word
            compared += 1
    assert compared > 200


def test_bytes_have_eight_bits_and_a_kibibyte_1024_bytes() -> None:
    bit, byte, kibibyte, kilobyte = (
        make_units(((word, 1),))[0].factor for word in ("bit", "B", "KiB", "kB")
    )
    assert (byte / bit, kibibyte / byte, kilobyte / byte) == (8, 1024, 1000)


def test_prefixes_go_by_their_case() -> None:
    milli, mega = make_units((("mHz", 1),)), make_units((("MHz", 1),))
    assert milli[0].factor * 10**9 == mega[0].factor
    assert {symbol for symbol, _ in PREFIXES.values()} >= {"m", "M", "µ", "k"}


def test_a_word_of_two_meanings_has_two_units() -> None:
    assert [unit.dimensions for unit in make_units((("pounds", 1),))] == [
        (("mass", 1),),
        (("gbp", 1),),
    ]
    assert make_units((("apples", 1),)) == ()
