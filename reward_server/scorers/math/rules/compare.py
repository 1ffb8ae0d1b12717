"""Compare two shaped answers with one rule for each pair of kinds.

The first is the ground truth, the second the prediction; only policies that say so treat them
differently. The rules are in the modules beside this one; `numbers/same_value` compares the values
of two expressions.
"""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import refill
from touchstone_rewards.reward_server.scorers.math.policy import Policy
from touchstone_rewards.reward_server.scorers.math.rules import (
    collection_rules,
    condition_rules,
    equation_rules,
    family_rules,
    piecewise_rules,
    quantity_rules,
    value_rules,
)
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node, TooLarge, Unreadable


def new_case(policy: Policy, seed: int) -> Case:
    """Return a comparison under `policy`; the same seed samples the same points."""
    return Case(policy, seed, same)


def same(truth: Node, answer: Node, case: Case) -> bool:
    """Tell whether the answer is the same as the ground truth.

    Raises:
        Unreadable: one of the two cannot be compared.
    """
    if truth == answer:
        return case.decided("same tree", True)
    return _by_rules(truth, answer, case)


def same_as_itself(truth: Node, policy: Policy, seed: int) -> bool:
    """Tell whether the ground truth equals itself by value rather than by its tree.

    Raises:
        TooLarge: it cannot be compared with anything.
        TooMuchWork: it alone exhausts the work budget.
    """
    refill()
    try:
        return _by_rules(truth, truth, Case(policy, seed, _by_rules))
    except RecursionError as error:
        raise TooLarge("nested too deeply") from error
    except TooLarge:
        raise
    except Unreadable:
        return False


def _by_rules(truth: Node, answer: Node, case: Case) -> bool:
    if truth.op in VALUES and answer.op in VALUES:
        return value_rules.values(truth, answer, case)
    for kinds, rule in _RULES:
        if truth.op in kinds or answer.op in kinds:
            return rule(truth, answer, case)
    return case.decided(f"{truth.op} against {answer.op}", False)


_LIKE_KINDS = frozenset(["setof", "quantified", "congruence", "property", "progression"])
# The first rule whose kinds include either of the two decides.
_RULES = (
    (frozenset(["choice"]), value_rules.choices),
    (frozenset(["all equal"]), equation_rules.all_equal),
    (frozenset(["parts"]), collection_rules.parts),
    (frozenset(["free"]), condition_rules.free_letters),
    (frozenset(["conditioned"]), condition_rules.conditions),
    (frozenset(["family"]), family_rules.families),
    (frozenset(["time"]), collection_rules.times),
    (_LIKE_KINDS, collection_rules.like_kinds),
    (frozenset(["related"]), equation_rules.related),
    (frozenset(["labelled"]), quantity_rules.labels),
    (frozenset(["text"]), value_rules.texts),
    (frozenset(["logic"]), collection_rules.statements),
    (frozenset(["assigned"]), equation_rules.assignments),
    (frozenset(["cases"]), piecewise_rules.cases),
    (frozenset(["quantity"]), quantity_rules.quantities),
    (frozenset(["list", "set"]), collection_rules.collections),
    (frozenset(["equation", "inequality"]), equation_rules.equations),
    (frozenset(["bracket"]), collection_rules.brackets),
    (frozenset(["region"]), collection_rules.regions_of),
    (frozenset(["matrix"]), collection_rules.vectors),
    (frozenset(["ratio"]), collection_rules.ratios),
    (frozenset(["base"]), collection_rules.bases),
)
