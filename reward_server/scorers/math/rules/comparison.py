"""One comparison under way: its policy, the seed of its points, and what decided last."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.policy import Policy
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable


class Case(Struct):
    """What the rules of a comparison share. `judge` compares the parts of what a rule is given."""

    policy: Policy
    seed: int
    judge: Callable[[Node, Node, Case], bool]
    method: str = ""

    def decided(self, method: str, equal: bool) -> bool:
        """`equal`, remembered with the method that says so."""
        self.method = method
        return equal

    def unlike(self, truth: Node, answer: Node) -> bool:
        return self.decided(f"{truth.op} against {answer.op}", False)

    def same(self, truth: Node, answer: Node) -> bool:
        return self.judge(truth, answer, self)

    def quietly(self, truth: Node, answer: Node) -> bool:
        """`same`, and no where the two cannot be compared: for looking for a partner."""
        try:
            return self.judge(truth, answer, self)
        except Unreadable:
            return False
