"""Units of measure as data: what a word or symbol is worth in the base units of its dimension.

In: the words beside a number. Out: a `Unit` (exact factor, dimension) or None for a word that is no
unit. Money and counted things (`apples`) are dimensions of their own: they convert to nothing.
"""

from __future__ import annotations

from functools import lru_cache

from flint import fmpq
from msgspec import Struct

# dimension: {names: factor to the first one}. Factors are exact.
_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "m meter meters metre metres": "1", "km kilometer kilometers kilometre kilometres": "1000",
        "dm decimeter decimeters": "1/10",
        "cm centimeter centimeters centimetre centimetres cms": "1/100",
        "mm millimeter millimeters millimetre millimetres": "1/1000",
        "nm nanometer nanometers": "1/1000000000",
        "in inch inches": "254/10000", "ft foot feet": "3048/10000", "yd yard yards": "9144/10000",
        "mi mile miles": "1609344/1000", "lightyear lightyears": "9460730472580800",
    },
    "mass": {
        "kg kilogram kilograms kilo kilos kgs": "1", "g gram grams": "1/1000",
        "mg milligram milligrams": "1/1000000", "ton tons tonne tonnes": "1000",
        "lb lbs pound pounds": "45359237/100000000", "oz ounce ounces": "45359237/1600000000",
    },
    "time": {
        "s sec secs second seconds": "1", "ms millisecond milliseconds": "1/1000",
        "min mins minute minutes": "60", "h hr hrs hour hours": "3600", "day days": "86400",
        "week weeks": "604800", "month months": "2629746", "year years yr yrs": "31556952",
    },
    "volume": {
        "L l liter liters litre litres": "1/1000", "mL ml milliliter milliliters": "1/1000000",
        "gallon gallons gal": "3785411784/1000000000000",
        "quart quarts qt": "946352946/1000000000000", "pint pints pt": "473176473/1000000000000",
        "cup cups": "2365882365/10000000000000", "cc": "1/1000000",
    },
    "speed": {"mph": "44704/100000", "kmh kph": "1000/3600", "knot knots": "1852/3600"},
    "force": {"N newton newtons": "1", "kN": "1000"},
    "energy": {"J joule joules": "1", "kJ": "1000", "cal calorie calories": "4184/1000",
               "kcal": "4184", "kWh": "3600000"},
    "power": {"W watt watts": "1", "kW kilowatt kilowatts": "1000"},
    "pressure": {"Pa pascal pascals": "1", "kPa": "1000", "atm": "101325"},
    "frequency": {"Hz hertz": "1", "kHz": "1000", "MHz": "1000000"},
    "current": {"A amp amps ampere amperes": "1"},
    "voltage": {"V volt volts": "1"},
    "resistance": {"ohm ohms": "1"},
    "temperature": {"K kelvin kelvins": "1"},
    "celsius": {"°C": "1"},
    "fahrenheit": {"°F": "1"},
    "angle": {"rad radian radians": "1"},
    "dollar": {"dollar dollars usd bucks": "1", "cent cents": "1/100"},
    "euro": {"euro euros eur": "1"},
    "pound sterling": {"gbp": "1"},
    "yen": {"yen jpy": "1"},
    "yuan": {"yuan rmb 元": "1"},
    "rupee": {"rupee rupees": "1"},
}  # fmt: skip
# Words that say that there is a unit and not which: `10 units`, `square units`.
NEUTRAL = frozenset(["unit", "units"])
_POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3}


class Unit(Struct, frozen=True):
    """A factor to base units, and the dimensions with their powers; none where it is not known."""

    factor: fmpq
    dimensions: tuple[tuple[str, int], ...]


def _rational(text: str) -> fmpq:
    above, _, below = text.partition("/")
    return fmpq(int(above), int(below or 1))


_UNITS: dict[str, tuple[str, fmpq]] = {
    name: (dimension, _rational(factor))
    for dimension, table in _TABLE.items()
    for names, factor in table.items()
    for name in names.split()
}
# A volume is a length cubed: 1 L and 1000 cm^3 are the same.
_DERIVED: dict[str, tuple[tuple[str, int], ...]] = {
    "volume": (("length", 3),),
    "speed": (("length", 1), ("time", -1)),
}


def is_unit(word: str) -> bool:
    """Is this a unit's name or symbol? Symbols by their case, names in any."""
    return word in _UNITS or (len(word) > 2 and word.lower() in _UNITS) or word in NEUTRAL


@lru_cache(maxsize=4096)
def make_unit(parts: tuple[tuple[str, int], ...]) -> Unit | None:
    """The product of `parts`, each a word and its power; None where a word is no unit."""
    factor = fmpq(1)
    powers: dict[str, int] = {}
    pending = 1
    for word, power in parts:
        if word.lower() in _POWERS:
            pending = _POWERS[word.lower()]
            continue
        if word in NEUTRAL:
            continue
        known = _UNITS.get(word) or (_UNITS.get(word.lower()) if len(word) > 2 else None)
        if known is None:
            return None
        dimension, worth = known
        power, pending = power * pending, 1
        factor *= worth**power
        for base, times in _DERIVED.get(dimension, ((dimension, 1),)):
            powers[base] = powers.get(base, 0) + times * power
    return Unit(factor, tuple(sorted((d, p) for d, p in powers.items() if p)))
