"""Tables in pages whose rows come from results: found by a mark, rewritten, checked by tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence


def places(mark: str) -> re.Pattern[str]:
    """Return the pattern of a table under `<!-- MARK: NAME -->`; its groups are the part before the
    rows, the name, and the rows."""
    return re.compile(rf"(<!-- {mark}: (\w+) -->\n(?:\|.*\n){{2}})((?:\|.*\n)*)")


def filled(
    page: str, tables: re.Pattern[str], rows_of: Callable[[str], Iterable[Sequence[str]]]
) -> str:
    r"""Return the page with the rows of its tables as `rows_of` gives them by name.

    >>> page = "<!-- my: one -->\n| a |\n|---|\n| old |\n"
    >>> filled(page, places("my"), lambda name: [[name]]).splitlines()[-1]
    '| one |'
    """

    def written(table: re.Match[str]) -> str:
        return table[1] + "".join(f"| {' | '.join(cells)} |\n" for cells in rows_of(table[2]))

    return tables.sub(written, page)
