"""Compare a path with a pattern: `*` is any part of one name, `**/` any folders.

The time grows with the path times the pattern, whatever the two are. A regular expression made of
the pattern can take far longer.
"""

from __future__ import annotations


def fits(path: str, pattern: str) -> bool:
    """Return whether `path` is one that `pattern` means: `fits("a/b/c.jsonl", "a/**/*.jsonl")`."""
    wanted = pattern.split("/")
    last = len(wanted) - 1  # `**` at the end is no folder
    any_folders = [part == "**" and at < last for at, part in enumerate(wanted)]
    reached = {0}  # how many parts of the pattern the names so far may have used up
    for name in path.split("/"):
        reached = _past_folders(reached, any_folders)
        reached = {at for at in reached if at <= last and any_folders[at]} | {
            at + 1
            for at in reached
            if at <= last and not any_folders[at] and _name_fits(name, wanted[at])
        }
    return last + 1 in reached


def _past_folders(reached: set[int], any_folders: list[bool]) -> set[int]:
    """`reached`, and what is reached from there where `**/` stands for no folder."""
    found = set(reached)
    for at, several in enumerate(any_folders):
        if several and at in found:
            found.add(at + 1)
    return found


def _name_fits(name: str, pattern: str) -> bool:
    first, *pieces = pattern.split("*")
    if not pieces:
        return name == first
    *middle, last = pieces
    if not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in middle:  # the leftmost place of each piece leaves most room for the others
        at = name.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return at <= end
