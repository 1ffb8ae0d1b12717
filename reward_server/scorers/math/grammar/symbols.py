"""Vocabulary as data: Unicode to ASCII or LaTeX, LaTeX commands to tokens, functions, words.

To support a new symbol, add a line here.
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# ---- Unicode: the LaTeX or ASCII form of each character

_CHARACTERS = {
    "，": ", ", "、": ", ", "。": ".", "﹐": ", ", "；": ";", "：": ":", "（": "(", "）": ")",
    "【": "[", "】": "]", "｛": "{", "｝": "}", "〈": r"\langle ", "〉": r"\rangle ",
    "⟨": r"\langle ", "⟩": r"\rangle ", "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-",
    "‒": "-", "―": "-", "﹣": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ",
    "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "⁄": "/", "∕": "/",
    "√": r"\surd ", "∛": r"\cbrt ", "∞": r"\infty ", "π": r"\pi ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∉": r"\notin ", "⊂": r"\subset ", "⊆": r"\subseteq ", "⊊": r"\subsetneq ",
    "⊃": r"\supset ", "⊇": r"\supseteq ", "∝": r"\propto ", "∅": r"\emptyset ",
    "≤": r"\le ", "≦": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "≧": r"\ge ", "⩾": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "≃": r"\simeq ", "≒": r"\doteq ", "≐": r"\doteq ",
    "≊": r"\approxeq ", "≡": r"\equiv ", "±": r"\pm ", "∓": r"\mp ",
    "°": r"\degree ", "º": r"\degree ", "˚": r"\degree ", "℃": r"\degree C", "′": "'",
    "″": "''", "’": "'", "‘": "'", "“": '"', "”": '"', "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "…": r"\ldots ",
    "⋯": r"\cdots ", "∧": r"\land ", "∨": r"\lor ", "→": r"\to ", "⇒": r"\Rightarrow ",
    "¬": r"\neg ", "∂": r"\partial ", "∘": r"\circ ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∣": "|", "｜": "|",
    "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∀": r"\forall ", "∃": r"\exists ", "％": "%",
    "＄": "$", "€": r"\euro ", "£": r"\pounds ", "¥": r"\yen ", "￥": r"\yen ",
    "₹": r"\rupee ", "₩": r"\won ", "₽": r"\ruble ", "₺": r"\lira ", "₪": r"\shekel ",
    "฿": r"\baht ", "₫": r"\dong ", "₱": r"\peso ", "₦": r"\naira ", "¢": r"\textcent ",
    "∖": r"\setminus ", "≅": r"\cong ", "∼": r"\sim ", "∠": r"\angle ", "△": r"\triangle ",
    "⊥": r"\perp ", "∥": r"\parallel ", "µ": r"\mu ", "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅕": r"\frac{1}{5}",
    "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}",
    "⅚": r"\frac{5}{6}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}",
    "⅞": r"\frac{7}{8}", "ℓ": r"\ell ",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon",
    "ζ": "zeta", "η": "eta", "θ": "theta", "ϑ": "theta", "ι": "iota", "κ": "kappa",
    "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "υ": "upsilon", "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi",
    "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\ufeff"
_SPACES = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000"
)

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", "0123456789+-()", strict=True))

UNICODE: dict[int, str | None] = {
    **{ord(full): chr(ord(full) - 0xFEE0) for full in map(chr, range(0xFF01, 0xFF5F))},
    **{ord(character): ascii_ for character, ascii_ in _CHARACTERS.items()},
    **{ord(letter): f"\\{name} " for letter, name in _GREEK.items()},
    **{ord(character): None for character in _INVISIBLE},
    **{ord(character): " " for character in _SPACES},
}

# ---- LaTeX commands. A token is a kind and, if the kind needs one, a payload.

GREEK = frozenset(_GREEK.values()) | {"varepsilon", "vartheta", "varphi", "varrho", "ell", "hbar"}
VARIANTS = {"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "varrho": "rho"}

Token = tuple[str, str]

_COMMANDS: dict[str, str] = {
    "frac dfrac tfrac cfrac sfrac nicefrac flatfrac xfrac": "frac",
    "binom dbinom tbinom": "binom",
    "choose": "choose",
    "sqrt": "sqrt",
    "surd": "surd",
    "cbrt": "cbrt",
    "times cdot ast star": "*",
    "div": "/",
    "pm": "pm",
    "mp": "mp",
    "le leq leqslant leqq": "<=",
    "ge geq geqslant geqq": ">=",
    "lt": "<",
    "gt": ">",
    "ne neq": "!=",
    "approx approxeq simeq doteq": "~",
    "equiv": "equiv",
    "nequiv": "nequiv",
    "nsubset": "nsubset",
    "nsubseteq": "nsubseteq",
    "in": "in",
    "notin": "notin",
    "subset": "subset",
    "subseteq subseteqq": "subseteq",
    "subsetneq subsetneqq varsubsetneq": "subsetneq",
    "supset": "supset",
    "supseteq": "supseteq",
    "propto": "propto",
    "to rightarrow longrightarrow mapsto": "->",
    "Rightarrow implies Longrightarrow iff Leftrightarrow": "=>",
    "cup bigcup": "cup",
    "cap bigcap": "cap",
    "setminus backslash smallsetminus": "setminus",
    "land wedge": "land",
    "lor vee": "lor",
    "neg lnot": "lnot",
    "quad qquad": "quad",
    "mid vert lvert rvert": "|",
    "Vert lVert rVert": "norm",
    "lfloor": "lfloor",
    "rfloor": "rfloor",
    "lceil": "lceil",
    "rceil": "rceil",
    "langle": "(",
    "rangle": ")",
    "lbrace": "\\{",
    "rbrace": "\\}",
    "lbrack": "[",
    "rbrack": "]",
    "degree circ": "degree",
    "prime": "'",
    "bmod mod": "mod",
    "pmod": "pmod",
    "ldots cdots dots vdots ddots dotsc dotsm dotsb": "dots",
    "sum": "sum",
    "prod": "prod",
    "lim": "lim",
    "int iint iiint oint": "int",
    "perp": "perp",
    "parallel": "parallel",
    "sim": "similar",
    "cong": "congruent",
    "over": "over",
}

CONSTANTS: dict[str, Token] = {
    "pi": ("const", "pi"),
    "infty": ("const", "inf"),
    "infinity": ("const", "inf"),
    "emptyset": ("empty", ""),
    "varnothing": ("empty", ""),
    "imath": ("const", "i"),
    "jmath": ("name", "j"),
    "top": ("name", "T"),
    "intercal": ("name", "T"),
}

# Every function of the evaluator, under all its common names.
FUNCTIONS: dict[str, str] = {
    **{name: name for name in _set(
        "sin cos tan cot sec csc sinh cosh tanh coth sech csch arcsin arccos arctan arccot "
        "arcsec arccsc arcsinh arccosh arctanh ln log exp max min gcd lcm sqrt abs floor ceil "
        "sign det gamma erf zeta binom cbrt Re Im arg cis conj"
    )},
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "acot": "arccot", "asec": "arcsec",
    "acsc": "arccsc", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "arsinh": "arcsinh", "arcosh": "arccosh", "artanh": "arctanh", "tg": "tan", "ctg": "cot",
    "cosec": "csc", "arctg": "arctan", "lg": "lg", "lb": "lb", "sgn": "sign", "ceiling": "ceil",
    "nCr": "binom", "conjugate": "conj",
}  # fmt: skip
# Commands that are letters in LaTeX but functions as plain words.
_LETTER_COMMANDS = {"gamma", "zeta"}

INVERSE = {
    "sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec",
    "csc": "arccsc", "sinh": "arcsinh", "cosh": "arccosh", "tanh": "arctanh",
}  # fmt: skip

COMMANDS: dict[str, Token] = {
    **{name: (kind, "") for names, kind in _COMMANDS.items() for name in names.split()},
    **{name: ("name", VARIANTS.get(name, name)) for name in GREEK},
    **{
        n: ("func", f)
        for n, f in FUNCTIONS.items()
        if n not in ("sqrt", "binom", *_LETTER_COMMANDS)
    },
    **CONSTANTS,
    **{letter: ("field", letter) for letter in "RZNQ"},
    **{"O": ("empty", ""), "colon": (":", ":")},
    "cbrt": ("cbrt", ""),
    **{name: ("quantifier", name) for name in ("forall", "exists")},
    "partial": ("name", "∂"),
    "times": ("*", "times"),  # between vectors and sets it is not the dot
    "circ": ("degree", "circ"),  # between functions it is not a degree sign
    **dict.fromkeys(("angle", "measuredangle", "sphericalangle"), ("figure", "∠")),
    **{"triangle": ("figure", "△"), "square": ("figure", "□")},
}

# Commands that only change the appearance, and commands whose argument keeps its name: \vec{a}.
IGNORED = _set(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle "
    "textstyle scriptstyle limits nolimits hfill rm bf it sf tt cal mathrm mathbf "
    "mathit mathsf boldsymbol bm text textbf textit textrm mbox hbox "
    "mathopen mathclose noindent large Large LARGE huge Huge small tiny normalsize footnotesize "
    "scriptsize scriptscriptstyle normalfont boldmath mathstrut strut ensuremath bfseries itshape "
    "centering displaylimits nonumber notag allowbreak nobreak enspace enskip thinspace medspace "
    "thickspace space therefore because smash overbrace"
)
# Money signs and the words they are read as: a dollar is not a euro.
CURRENCY_COMMANDS = {
    "euro": "euro", "EUR": "euro", "texteuro": "euro", "pounds": "gbp", "textsterling": "gbp",
    "yen": "¥", "textyen": "¥", "rupee": "rupee", "won": "won", "ruble": "ruble", "lira": "lira",
    "shekel": "shekel", "baht": "baht", "dong": "dong", "peso": "peso", "naira": "naira",
    "textdollar": "dollar", "textcent": "cent", "cent": "cent",
}  # fmt: skip
# Accents with the same meaning.
SAME_ACCENT = {"overrightarrow": "vec", "widehat": "hat", "widetilde": "tilde", "bar": "overline"}
ACCENTS = _set(
    "vec hat bar overline underline tilde dot ddot widehat widetilde overrightarrow mathcal "
    "mathfrak mathscr"
)

# ---- words

JOINTS = {
    "and": "and", "or": "or", "&": "and", "和": "and", "与": "and", "及": "and", "或": "or",
    "或者": "or", "und": "and", "et": "and", "plus": "plus",
}  # fmt: skip
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
NUMBER_WORDS = {word: number for number, word in enumerate(_COUNTING.split())}
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
# Short runs of letters that are words and not products.
SHORT_WORDS = _set(
    "no yes men day cat dog red odd one two six ten for all are the per nan was has can not but "
    "jan feb mar apr may jun jul aug sep oct nov dec mon tue wed thu fri sat sun "
    "hen pig cow kid bus car pen box"
)
# One of these words beside a number makes it another answer, or no answer.
TURNING_WORDS = _set(
    "not no never or nor either neither maybe perhaps possibly probably unless except if "
    "but anything something nothing everything any all none unknown undefined least most "
    "about approximately around nearly almost more less greater fewer than over under "
    "between without minus plus times negative half double twice triple dozen percent "
    "infinity infinite"
)
