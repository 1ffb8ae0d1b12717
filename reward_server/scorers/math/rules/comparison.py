"""State of one comparison: its policy, the seed of its points, and the method that decided last."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.policy import Policy
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable


class Case(Struct):
    """State shared by the rules of a comparison. `judge` compares the parts of compound answers."""

    policy: Policy
    seed: int
    judge: Callable[[Node, Node, Case], bool]
    method: str = ""

    def decided(self, method: str, equal: bool) -> bool:
        """Record the deciding method and return `equal`."""
        self.method = method
        return equal

    def unlike(self, truth: Node, answer: Node) -> bool:
        return self.decided(f"{truth.op} against {answer.op}", False)

    def same(self, truth: Node, answer: Node) -> bool:
        return self.judge(truth, answer, self)

    def quietly(self, truth: Node, answer: Node) -> bool:
        """Compare as `same` does, but return False if the two cannot be compared."""
        try:
            return self.judge(truth, answer, self)
        except Unreadable:
            return False
