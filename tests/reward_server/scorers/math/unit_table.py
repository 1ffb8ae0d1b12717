"""Write the table of units from pint's registry, or check the committed one against it.

    python tests/reward_server/scorers/math/unit_table.py     # writes grammar/unit_table.py again

Which units there are, by which words and symbols, and which prefixes they take is chosen here; what
they are worth is pint's. The scorer itself needs no pint: it reads the table that this makes.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pint

TABLE = Path(__file__).parents[4] / "reward_server/scorers/math/grammar/unit_table.py"

SI = "T G M k m u µ n p f"  # of any unit: a decivolt is a differential, dV
_DATA = "k M G T P E Ki Mi Gi Ti Pi"
# What it is worth to pint | words (a plural with s is made) | symbols | prefixes
UNITS = f"""
meter | meter metre | m | {SI} P E h d c a da
inch | inch inches | in |
foot | foot feet | ft |
yard | yard | yd yds |
mile | mile | mi |
nautical_mile | | nmi |
220 * yard | furlong | |
2 * yard | fathom | |
22 * yard | chain | |
33 * foot / 2 | rod | |
3 * mile | league | |
4 * inch | hand | |
angstrom | angstrom | Å |
micron | micron | |
light_year | lightyear | ly |
30856775814913673 * meter | parsec | pc | k M G
astronomical_unit | | au AU |
hectare | hectare | ha |
43560 * foot ** 2 | acre | |
barn | | barn |
liter | liter litre | L l | M k h d c m u µ n p f
cubic_centimeter | | cc |
gallon | gallon | gal |
quart | quart | qt |
pint | pint | pt |
cup | cup | |
fluid_ounce | | floz |
tablespoon | tablespoon | tbsp |
teaspoon | teaspoon | tsp |
bushel | bushel | |
peck | peck | |
gill | gill | |
dram | dram | |
grain | grain | |
slug | slug | |
100 * kilogram | quintal | |
oil_barrel | barrel | bbl |
gram | gram gramme | g | {SI} d c
metric_ton | tonne | t | k M G
short_ton | | short_ton |
pound | pound | lb lbs |
ounce | ounce | oz |
stone | stone | |
carat | carat | ct |
dalton | dalton | Da amu | k M
second | second | s sec secs | k M G m u µ n p f
minute | minute | min mins |
hour | hour | h hr hrs |
day | day | |
week | week | wk |
fortnight | fortnight | |
month | month | |
year | year | yr yrs |
10 * year | decade | |
century | century centuries | |
millennium | millennium millennia | |
ampere | ampere amp | A | {SI}
kelvin | kelvin | K | m u µ n k M
mole | mole | mol | {SI}
mole / liter | molar | M | m u µ n p f
candela | candela | cd | m k
newton | newton | N | {SI}
dyne | dyne | dyn |
pound_force | | lbf |
kilogram_force | | kgf |
joule | joule | J | {SI} P E
erg | erg | |
electron_volt | electronvolt | eV | {SI} P E
calorie | calorie | cal | k M
british_thermal_unit | | Btu BTU |
watt_hour | | Wh | k M G T m
watt | watt | W | {SI} P E
horsepower | horsepower | hp |
volt_ampere | | VA | k M
pascal | pascal | Pa | {SI} h d
bar | bar | | k M m µ u
atmosphere | atmosphere | atm |
torr | torr | | m
mmHg | | mmHg |
psi | | psi |
hertz | hertz | Hz | {SI} P
becquerel | becquerel | Bq | {SI}
curie | curie | Ci | m u µ n p k M
gray | gray | Gy | m u µ n c
sievert | sievert | Sv | m u µ n c
rem | | rem | m
coulomb | coulomb | C | {SI}
ampere_hour | | Ah | m k
volt | volt | V | {SI}
ohm | ohm | Ω | {SI}
siemens | siemens | S | m u µ n k
farad | farad | F | {SI}
henry | henry henries | H | m u µ n k
weber | weber | Wb | m u µ
tesla / 10000 | gauss | |
tesla | tesla | T | m u µ n k
katal | katal | kat | m u µ n
poise | poise | | c m
centipoise | | cP |
stokes | stokes | St | c m
knot | knot | kn kt |
"""
# Units of angles and amounts that pint takes for plain numbers: here dimensions of their own.
OWN = {
    "radian": ("angle", "radian | rad | m u µ"),
    "steradian": ("solid angle", "steradian | sr |"),
    "lumen": ("luminous flux", "lumen | lm | m k"),
    "lux": ("illuminance", "lux | lx | m k"),
    "decibel": ("level", "decibel | dB |"),
    "revolution": ("revolution", "revolution rev | |"),
    "bit": ("information", "bit | | k M G T P E Ki Mi Gi Ti Pi"),
    "kilobit": ("information", "| kb kbit |"),
    "megabit": ("information", "| Mb Mbit |"),
    "gigabit": ("information", "| Gb Gbit |"),
    "byte": ("information", f"byte | B | {_DATA}"),
}
PREFIXES = (
    "quetta ronna yotta zetta exa peta tera giga mega kilo hecto deca deka deci centi milli micro "
    "nano pico femto atto zepto yocto kibi mebi gibi tebi pebi"
)

PREFIX_SYMBOLS = "Q R Y Z E P T G M k h da da d c m µ n p f a z y Ki Mi Gi Ti Pi"

HEAD = '''"""Units by their words and symbols, each with its factor to SI units and its dimensions.

Written by tests/reward_server/scorers/math/unit_table.py from pint's registry: change it there.
"""

from __future__ import annotations

# words, symbols, prefixes of the symbols, factor, dimensions with their powers
UNITS: tuple[tuple[str, str, str, str, tuple[tuple[str, int], ...]], ...] = (
'''


Row = tuple[str, str, str, str, tuple[tuple[str, int], ...]]


def _registry() -> Any:
    """Return pint's registry, with exact fractions for numbers."""
    exact: Any = Fraction
    return pint.UnitRegistry(non_int_type=exact)


def rows() -> list[Row]:
    """Return every unit with its value by pint's registry."""
    registry = _registry()
    made: list[Row] = []
    for line in UNITS.strip().splitlines():
        expression, words, symbols, prefixes = (part.strip() for part in line.split("|"))
        worth = registry.Quantity(expression).to_base_units()
        powers = {str(name).strip("[]"): int(p) for name, p in worth.dimensionality.items()}
        dimensions = tuple(sorted(powers.items()))
        made.append((words, symbols, prefixes, str(worth.magnitude), dimensions))
    for name, (dimension, line) in OWN.items():
        words, symbols, prefixes = (part.strip() for part in line.split("|"))
        bits = registry.Quantity(Fraction(1), name)
        worth = str(bits.to("bit").magnitude) if dimension == "information" else "1"
        made.append((words, symbols, prefixes, worth, ((dimension, 1),)))
    return made


def prefixes() -> dict[str, tuple[str, str]]:
    """Return each prefix's name with its symbol and its factor."""
    registry = _registry()
    found: dict[str, tuple[str, str]] = {}
    for name, symbol in zip(PREFIXES.split(), PREFIX_SYMBOLS.split(), strict=True):
        worth = registry.Quantity(Fraction(1), f"{name}byte").to("byte").magnitude
        found[name] = (symbol, str(worth))
    return found


def render() -> str:
    """Return the module that holds the table."""
    lines = [HEAD]
    for words, symbols, taken, worth, dimensions in rows():
        head = f'    ("{words}", "{symbols}", "{taken}",'
        lines.append(f'{head}\n     "{worth}", {dimensions!r}),\n'.replace("'", '"'))
    lines.append(")  # fmt: skip\n\n# name: symbol, factor\n")
    lines.append("PREFIXES: dict[str, tuple[str, str]] = {\n")
    for name, (symbol, factor) in prefixes().items():
        lines.append(f'    "{name}": ("{symbol}", "{factor}"),\n')
    return "".join([*lines, "}\n"])


if __name__ == "__main__":
    TABLE.write_text(render(), encoding="utf-8")
