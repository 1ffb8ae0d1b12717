"""Patterns of paths, and the files that each matches."""

from __future__ import annotations

import random
import re

import pytest

from touchstone_rewards.reward_server.stored.path_pattern import fits


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("in/*.jsonl", ["in/a.jsonl", "in/.jsonl"], ["in/b/a.jsonl", "in/a.json", "a.jsonl"]),
        ("in/**/*.jsonl", ["in/a.jsonl", "in/b/c/a.jsonl"], ["out/a.jsonl", "in/a.parquet"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax", "x/a"]),
        ("a*b*c", ["abc", "axbxc", "abbcc"], ["ab", "acb", "a/b/c"]),
        ("ab*ba", ["abba", "abxba"], ["aba"]),
        ("a/**", ["a/b", "a/"], ["a/b/c"]),
    ],
)
def test_a_star_is_part_of_a_name_and_two_are_any_folders(
    pattern: str, meant: list[str], not_meant: list[str]
) -> None:
    assert [path for path in meant + not_meant if fits(path, pattern)] == meant


def test_it_says_what_a_regular_expression_says() -> None:
    drawn = random.Random(1)
    for _ in range(20_000):
        parts = drawn.choices(["*", "a", "b", "*a", "a*b", "**", "a**"], k=drawn.randint(1, 5))
        pattern, path = "/".join(parts), "".join(drawn.choices("ab/", k=drawn.randint(1, 8)))
        folders = re.sub(r"(^|(?<=/))\\\*\\\*/", "(?:.*/)?", re.escape(pattern))
        expected = re.fullmatch(folders.replace(r"\*", "[^/]*"), path)
        assert fits(path, pattern) == bool(expected), (path, pattern)


def test_many_stars_take_no_longer_than_the_path_times_the_pattern() -> None:
    assert not fits("a" * 3_000, "a*" * 300 + "b")  # a backtracking engine would not come back
