"""Units of measure: the exact factor and the dimensions of the words or symbols beside a number.

Words with their powers are resolved into the units they may mean; none if a word is not a unit.
Factors come from `unit_table`, generated from pint's registry. Each currency is a dimension of its
own, because exchange rates change. Counted things (`apples`) are not units.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice, product

from flint import fmpq
from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.grammar.unit_table import PREFIXES, UNITS

Parts = tuple[tuple[str, int], ...]
MAX_READINGS = 8

# Words for an unspecified unit: `10 units`, `square units`.
NEUTRAL = frozenset(["unit", "units"])
_POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
# Words of each currency; after the bar, those of its hundredth.
_CURRENCIES = (
    "dollar dollars usd buck bucks 美元|cent cents ¢", "euro euros eur 欧元|cent cents",
    "gbp sterling 英镑|pence penny", "yen jpy 日元|", "yuan rmb cny renminbi 元 人民币|",
    "rupee rupees inr rs|", "won krw|", "ruble rubles rouble roubles rub|", "lira liras try|",
    "shekel shekels ils|", "baht thb|", "dong vnd|", "peso pesos|centavos", "naira ngn|",
    "franc francs chf|", "rand zar|", "ringgit myr|", "dirham dirhams aed|", "taka bdt|",
    "krona kronor sek|", "krone kroner nok dkk|", "zloty pln|", "forint huf|", "dinar dinars|",
    "riyal riyals sar|", "aud|", "cad|", "hkd|", "nzd|", "sgd|",
)  # fmt: skip
# Other spellings of units in the table.
_ALIASES: dict[str, Parts] = {
    **dict.fromkeys(("mph",), (("mi", 1), ("h", -1))),
    **dict.fromkeys(("kmh", "kph", "kmph"), (("km", 1), ("h", -1))),
    **dict.fromkeys(("rpm", "RPM"), (("rev", 1), ("min", -1))),
    **dict.fromkeys(("bps",), (("bit", 1), ("s", -1))),
    **{f"{p}bps": ((f"{p}b", 1), ("s", -1)) for p in "kMG"},
    **{words + s: ((symbol, 1),) for s in ("", "s") for words, symbol in {
        "light year": "ly", "nautical mile": "nmi", "metric ton": "t", "short ton": "short_ton",
        "fluid ounce": "floz", "electron volt": "eV", "astronomical unit": "au",
    }.items()},
    "mpg": (("mi", 1), ("gal", -1)),
    "sqft": (("ft", 2),),
    **{word: ((symbol, 1),) for word, symbol in {
        "cms": "cm", "kgs": "kg", "kilo": "kg", "kilos": "kg", "hertz": "Hz", "siemens": "S",
        "Omega": "Ω", "ell": "l", "msec": "ms", "米": "m", "厘米": "cm",
        "毫米": "mm", "分米": "dm", "千米": "km", "公里": "km", "克": "g", "千克": "kg",
        "公斤": "kg", "毫克": "mg", "吨": "t", "秒": "s", "分钟": "min", "小时": "h", "天": "day",
        "周": "week", "年": "year", "升": "L", "毫升": "mL", "公顷": "ha", "℃": "°C",
    }.items()},
    **{square + unit: ((symbol, power),)
       for square, power in (("平方", 2), ("立方", 3))
       for unit, symbol in (("米", "m"), ("厘米", "cm"), ("分米", "dm"), ("千米", "km"))},
}  # fmt: skip
# Words with more than one meaning. Either is accepted, because the other side decides.
_READINGS: dict[str, tuple[Parts, ...]] = {
    **dict.fromkeys(("ton", "tons"), ((("t", 1),), (("short_ton", 1),))),
    **dict.fromkeys(("pound", "pounds"), ((("lb", 1),), (("gbp", 1),))),
    **dict.fromkeys(("oz", "ounce", "ounces"), ((("oz", 1),), (("floz", 1),))),
    **dict.fromkeys(("cent", "cents"), ((("usd cent", 1),), (("eur cent", 1),))),
    "C": ((("C", 1),), (("°C", 1),)),
    "F": ((("F", 1),), (("°F", 1),)),
    "¥": ((("yen", 1),), (("yuan", 1),)),
}
# Prefixed symbols that mean something else: acidity, words.
_NO_UNITS = frozenset(["pH", "as", "am", "at", "Ms"])
# Symbols and words that are units after a number even where letters are variables: 5 cm.
_PLAIN_SYMBOLS = (
    "km dm cm mm kg mg lb lbs oz in ft yd mi min mins sec secs hr hrs yr yrs day days week "
    "year mL ml gal qt pt cc cup cups mph kmh kph kN kJ cal kcal kWh kW MW Pa kPa MPa atm Hz kHz "
    "MHz GHz eV keV MeV GeV amp amps volt ohm ohms usd eur gbp yen rmb kgs cms"
)
_PLAIN = frozenset(_PLAIN_SYMBOLS.split())
_MIN_NAME_CHARS = 4  # of a word that is a unit anywhere in plain text


class Unit(Struct, frozen=True):
    """A factor to base units, the dimensions with their powers, and the zero point of the scale."""

    factor: fmpq
    dimensions: Parts
    offset: fmpq = fmpq(0)


def _rational(text: str) -> fmpq:
    above, _, below = text.partition("/")
    return fmpq(int(above), int(below or 1))


def _plural(word: str) -> str:
    return word if word.endswith(("s", "z", "x")) else word + "s"


def _base_units() -> tuple[dict[str, Unit], dict[str, Unit]]:
    """Return the units by their words, which ignore case, and by their symbols."""
    words: dict[str, Unit] = {}
    symbols: dict[str, Unit] = {}
    for names, signs, prefixes, worth, dimensions in UNITS:
        unit = Unit(_rational(worth), dimensions)
        for name in names.split():
            for spelled in (name, _plural(name)):
                words[spelled] = unit
                if prefixes:
                    words |= {
                        prefix + spelled: Unit(unit.factor * _rational(factor), dimensions)
                        for prefix, (sign, factor) in PREFIXES.items()
                        if sign in prefixes.split()
                    }
        symbols |= dict.fromkeys(signs.split(), unit)
        for sign in signs.split():
            for prefix in prefixes.split():
                symbols.setdefault(
                    prefix + sign, Unit(unit.factor * _PREFIX_FACTORS[prefix], dimensions)
                )
    return words, symbols


def _currencies() -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    for line in _CURRENCIES:
        whole, _, part = line.partition("|")
        code = whole.split()[0]
        found |= dict.fromkeys(whole.split(), Unit(fmpq(1), ((code, 1),)))
        found |= dict.fromkeys(part.split(), Unit(fmpq(1, 100), ((code, 1),)))
    found["usd cent"] = Unit(fmpq(1, 100), (("dollar", 1),))
    found["eur cent"] = Unit(fmpq(1, 100), (("euro", 1),))
    return found


_PREFIX_FACTORS = {
    **{sign: _rational(factor) for sign, factor in PREFIXES.values()},
    "u": fmpq(1, 1_000_000),
}
_WORDS, _SYMBOLS = _base_units()
_MONEY = _currencies()
_KELVIN = (("temperature", 1),)
_SCALES = {
    **dict.fromkeys(("°C", "celsius", "centigrade"), Unit(fmpq(1), _KELVIN, fmpq(27315, 100))),
    **dict.fromkeys(("°F", "fahrenheit"), Unit(fmpq(5, 9), _KELVIN, fmpq(45967, 100))),
}


@lru_cache(maxsize=4096)
def _known(word: str) -> Unit | None:
    """Return the unit of a word or symbol; symbols are case-sensitive, words are not."""
    if word in _NO_UNITS:
        return None
    lower = word.lower()
    for table, spelled in (
        (_SYMBOLS, word), (_SCALES, word), (_WORDS, lower), (_SCALES, lower), (_MONEY, lower)
    ):  # fmt: skip
        if (unit := table.get(spelled)) is not None:
            return unit
    if word[:1] == "K" and len(word) > 1:  # not a prefix: Kg and KB mean kilo
        return _SYMBOLS.get("k" + word[1:])
    return None


def is_unit(word: str) -> bool:
    """Tell whether this is a unit's word or symbol."""
    return word in _ALIASES or word in _READINGS or word in NEUTRAL or _known(word) is not None


def is_plain_unit(word: str) -> bool:
    r"""Tell whether this is a unit after a number even outside
    `\text{}`, where `mA` is a product."""
    return word in _PLAIN or (len(word) >= _MIN_NAME_CHARS and is_unit(word))


def is_currency(word: str) -> bool:
    """Tell whether this is the word, code or sign of a currency."""
    return word == "¥" or word.lower() in _MONEY


@lru_cache(maxsize=4096)
def make_units(parts: Parts) -> tuple[Unit, ...]:
    """Return the units that the product of `parts` may mean; none if a word is not a unit.

    Each part is a word and its power. `pound` is a mass or money, so there may be two results.
    """
    readings: list[tuple[Parts, ...]] = []
    pending = 1
    for word, power in parts:
        if word.lower() in _POWERS:
            pending = _POWERS[word.lower()]
            continue
        if word in NEUTRAL:
            continue
        power, pending = power * pending, 1
        choices = _READINGS.get(word) or (_ALIASES.get(word, ((word, 1),)),)
        readings.append(tuple(tuple((w, p * power) for w, p in choice) for choice in choices))
    units: list[Unit] = []
    for chosen in islice(product(*readings), MAX_READINGS):
        unit = _multiplied([part for choice in chosen for part in choice])
        if unit is not None and unit not in units:
            units.append(unit)
    return tuple(units)


def _multiplied(parts: list[tuple[str, int]]) -> Unit | None:
    factor, powers = fmpq(1), dict[str, int]()
    for word, power in parts:
        unit = _known(word)
        if unit is None:
            return None
        if unit.offset != 0 and len(parts) == 1 and power == 1:
            return unit
        factor *= unit.factor**power
        for dimension, times in unit.dimensions:
            powers[dimension] = powers.get(dimension, 0) + times * power
    return Unit(factor, tuple(sorted((d, p) for d, p in powers.items() if p)))
