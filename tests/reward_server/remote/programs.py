"""Programs that a response may contain, and the outcomes of their tests.

Each was tried on SandboxFusion and on open-instruct's service: `test_real_sandboxes.py`.
"""

from __future__ import annotations

import json

ADD = ["assert add(1, 2) == 3", "assert add(1, 1) == 2", "assert add(0, 0) == 0"]
_GOOD = "def add(a, b):\n    return a + b\n"
# Name: program, and the share of `ADD` that it passes.
ASSERTED: dict[str, tuple[str, float]] = {
    "right": (_GOOD, 1.0),
    "right for one": ("def add(a, b):\n    return 3\n", 1 / 3),
    "wrong": ("def add(a, b):\n    return a - b - 1\n", 0.0),
    "no such function": ("def sub(a, b):\n    return a - b\n", 0.0),
    "no Python": ("def add(a, b:\n    return a + b\n", 0.0),
    "exits": (_GOOD + "exit(0)\n", 0.0),
    "exits hard": (_GOOD + "import posix\nposix._exit(0)\n", 0.0),
    "exits in the function": ("def add(a, b):\n    raise SystemExit(0)\n", 0.0),
    "hangs for one": ("def add(a, b):\n    while a == 0:\n        pass\n    return a + b\n", 2 / 3),
    "hangs": ("while True:\n    pass\n", 0.0),
    "equal to anything": (
        "class Any:\n    def __eq__(self, other):\n        return True\n"
        "def add(a, b):\n    return Any()\n",
        0.0,
    ),
    "a number equal to anything": (
        "class Any(int):\n    def __eq__(self, other):\n        return True\n"
        "def add(a, b):\n    return Any(7)\n",
        0.0,
    ),
    "floods": ("def add(a, b):\n    print('x' * 10**6)\n    return a + b\n", 1.0),
    "asserts its own and fails": (_GOOD + "assert add(1, 1) == 3\n", 0.0),
    "prints what a report looks like": (
        "print('begin')\nfor i in range(3):\n    print('passed', i)\nprint('end')\n",
        0.0,
    ),
    "reads the input": (
        "import sys\nprint(sys.stdin.read())\ndef add(a, b):\n    return 0\n",
        1 / 3,
    ),
}
NEXT = json.dumps({"inputs": ["1\n", "41\n"], "outputs": ["2\n", "42"]})
# Name: program that reads a number, and the share of `NEXT` that it passes.
PRINTED: dict[str, tuple[str, float]] = {
    "right": ("print(int(input()) + 1)\n", 1.0),
    "right for one": ("print(2)\n", 0.5),
    "spaces and lines at the ends": ("print(int(input()) + 1, '', sep='  \\n\\n')\n", 1.0),
    "wrong": ("print(int(input()))\n", 0.0),
    "silent": ("input()\n", 0.0),
    "prints and fails": ("print(int(input()) + 1)\nraise ValueError\n", 0.0),
    "all answers at once": ("print(2)\nprint(42)\n", 0.0),
}


def block(program: str, language: str = "python") -> str:
    """Return a response that contains the program."""
    return f"<think>easy</think>Here it is:\n\n```{language}\n{program}```\nDone."
