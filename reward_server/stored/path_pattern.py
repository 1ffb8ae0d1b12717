"""Match a path against a pattern: `*` is any part of one name, `**/` any folders.

The time is linear in the path times the pattern. A regular expression built from the pattern could
take far longer.
"""

from __future__ import annotations


def fits(path: str, pattern: str) -> bool:
    """Return whether `path` matches `pattern`: `fits("a/b/c.jsonl", "a/**/*.jsonl")`."""
    wanted = pattern.split("/")
    last = len(wanted) - 1  # a final `**` does not match folders
    any_folders = [part == "**" and at < last for at, part in enumerate(wanted)]
    reached = {0}  # the numbers of pattern parts that the names so far can match
    for name in path.split("/"):
        reached = _past_folders(reached, any_folders)
        reached = {at for at in reached if at <= last and any_folders[at]} | {
            at + 1
            for at in reached
            if at <= last and not any_folders[at] and _name_fits(name, wanted[at])
        }
    return last + 1 in reached


def _past_folders(reached: set[int], any_folders: list[bool]) -> set[int]:
    """Return `reached`, extended by the positions after each `**/` that matches no folder."""
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
    for piece in middle:  # the leftmost match of each piece leaves most room for the rest
        at = name.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return at <= end
