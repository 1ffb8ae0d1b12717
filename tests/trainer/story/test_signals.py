"""Each formula by hand and against loops; padding changes no value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from touchstone_rewards.trainer.story.signals import (
    Measured,
    SignalArguments,
    cre,
    entropy_change,
    information_flow,
    most_open,
    signals_of,
    token_weights,
)


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def all_of(tensor: Tensor) -> Tensor:
    return torch.ones(tensor.shape[:2], dtype=torch.bool)


def test_the_change_of_entropy_is_relative_limited_and_its_sign_is_a_choice() -> None:
    with_history, without = rows([1.0, 3.0, 1.0]), rows([2.0, 2.0, 0.0])
    found = entropy_change(with_history, without, SignalArguments())
    # (1-2)/2, (3-2)/2, and 1/1e-8 limited to 10
    assert found.tolist()[0] == pytest.approx([-0.5, 0.5, 10.0])
    first_form = entropy_change(with_history, without, SignalArguments(d_sign=-1))
    assert first_form.tolist()[0] == pytest.approx([0.5, -0.5, -10.0])


def test_the_information_flow_is_the_mean_cosine_with_the_earlier_tokens() -> None:
    hidden = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0]]])
    # cosines: -; 0; (1/√2 + 1/√2)/2; (-1 + 0 - 1/√2)/3 is below 0
    found = information_flow(hidden, all_of(hidden))
    assert found.tolist()[0] == pytest.approx([0.0, 0.0, math.sqrt(0.5), 0.0])


def test_only_the_tokens_most_open_without_history_count() -> None:
    entropies = rows([0.1, 0.9, 0.5, 0.9, 0.2], [9.0, 9.0, 9.0, 0.3, 0.4])
    mask = torch.tensor([[True] * 5, [False, False, False, True, True]])
    assert most_open(entropies, mask, 0.4).tolist() == [
        [False, True, False, True, False],
        [False, False, False, False, True],  # ceil(0.4 * 2) = 1
    ]
    assert most_open(rows([1.0, 1.0, 1.0]), torch.ones(1, 3).bool(), 0.3).tolist() == [
        [True, False, False]
    ]
    assert most_open(torch.rand(1, 15), torch.ones(1, 15).bool(), 0.2).sum() == 3


def test_the_weights_sum_to_one_are_never_negative_and_uniform_where_nothing_is_left() -> None:
    constants = SignalArguments(beta=2.0, gamma=1.0, rho=1.0)
    mask = torch.ones(1, 3).bool()
    # 1 + 2 d + f: 2, 1, and -1 which is 0
    found = token_weights(rows([0.5, -0.5, -1.0]), rows([0.0, 1.0, 0.0]), mask, constants)
    assert found.tolist()[0] == pytest.approx([2 / 3, 1 / 3, 0.0])
    found = token_weights(rows([-1.0, -1.0, -1.0]), rows([0.0, 0.0, 0.0]), mask, constants)
    assert found.tolist()[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_cre_is_the_weighted_surprise_of_the_response_given_the_history() -> None:
    with_history = Measured(rows([-0.5, -2.0]), rows([1.0, 1.0]), rows([0.0, 1.0]))
    without = Measured(rows([-1.0, -5.0]), rows([2.0, 1.0]), rows([0.0, 0.0]))
    mask = torch.ones(1, 2).bool()
    # d: -0.5, 0; weights 0.5 : 2; CRE = (0.5 * 0.5 + 2 * 2) / 2.5
    assert cre(with_history, without, mask, SignalArguments(rho=1.0)).tolist() == pytest.approx(
        [1.7]
    )
    # rho 0.2 of two tokens is the first one, open to 2 nats: its surprise alone
    assert cre(with_history, without, mask, SignalArguments()).tolist() == pytest.approx([0.5])
    [row] = signals_of(with_history, without, mask, [7], SignalArguments())
    assert row == pytest.approx(
        {
            "logprob_gain": 1.75,  # (0.5 + 3) / 2
            "cre": 0.5,
            "exp_neg_cre": math.exp(-0.5),
            "mean_entropy_with": 1.0,
            "mean_entropy_without": 1.5,
            "info_flow": 0.5,
            "history_tokens": 7,
        }
    )


def slow(row: tuple[Measured, Measured, Tensor], constants: SignalArguments) -> dict[str, float]:
    """Compute one response of T tokens, token by token as the formulas are written."""
    (logps, h_with, _), (logps_without, h_without, _), hidden = row
    count = len(logps)
    flow, d = [], []
    for i in range(count):
        cosines = [torch.cosine_similarity(hidden[i], hidden[j], dim=0).item() for j in range(i)]
        flow.append(max(0.0, sum(cosines) / i) if i else 0.0)
        change = (h_with[i] - h_without[i]).item() / (h_without[i].item() + constants.eps)
        d.append(constants.d_sign * min(10.0, max(-10.0, change)))
    kept = sorted(range(count), key=lambda i: -h_without[i].item())
    kept = kept[: math.ceil(round(constants.rho * count, 6))]
    raw = {i: max(0.0, 1 + constants.beta * d[i] + constants.gamma * flow[i]) for i in kept}
    total = sum(raw.values())
    share = {
        i: weight / total if total >= constants.eps else 1 / len(raw) for i, weight in raw.items()
    }
    surprise = -sum(weight * logps[i].item() for i, weight in share.items())
    return {
        "logprob_gain": sum((logps - logps_without).tolist()) / count,
        "cre": surprise,
        "exp_neg_cre": math.exp(-surprise),
        "mean_entropy_with": h_with.mean().item(),
        "mean_entropy_without": h_without.mean().item(),
        "info_flow": sum(flow) / count,
        "history_tokens": 5,
    }


def drawn(count: int, seed: int) -> tuple[Measured, Measured, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    passes = [
        Measured(*(sign * torch.rand(count, generator=draw) * 3 for sign in (-1, 1, 1)))
        for _ in range(2)
    ]
    return passes[0], passes[1], torch.randn(count, 6, generator=draw)


def padded(
    items: list[tuple[Measured, Measured, Tensor]], left: int, right: int
) -> tuple[Measured, Measured, Tensor]:
    """Put rows side by side, with `left` random positions before each and the others after it."""
    width = left + right + max(len(item[2]) for item in items)
    mask = torch.zeros(len(items), width, dtype=torch.bool)
    tensors = [torch.full((len(items), width), torch.nan) for _ in range(4)]
    hidden = torch.full((len(items), width, 6), 7.0)
    for n, (with_history, without, states) in enumerate(items):
        place = slice(left, left + len(states))
        mask[n, place] = True
        hidden[n, place] = states
        for tensor, values in zip(tensors, [*with_history[:2], *without[:2]], strict=True):
            tensor[n, place] = values
    logps, entropies, logps_without, entropies_without = tensors
    flow = information_flow(hidden, mask)
    return Measured(logps, entropies, flow), Measured(logps_without, entropies_without, flow), mask


@pytest.mark.parametrize("rho", [0.2, 1.0])
@pytest.mark.parametrize("d_sign", [1, -1])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 4), (40, 17)])
def test_all_signals_are_those_of_the_slow_loops_whatever_the_padding(
    rho: float, d_sign: int, left: int, right: int
) -> None:
    constants = SignalArguments(rho=rho, d_sign=d_sign, beta=0.7, gamma=1.3)
    items = [drawn(count, seed) for seed, count in enumerate((1, 2, 9, 30))]
    found = signals_of(*padded(items, left, right), [5] * 4, constants)
    for item, row in zip(items, found, strict=True):
        assert row == pytest.approx(slow(item, constants), abs=1e-5)
    alone = [signals_of(*padded([item], 0, 0), [5], constants)[0] for item in items]
    assert found == [pytest.approx(row, abs=1e-5) for row in alone]


def test_without_history_the_gain_is_zero_and_says_so() -> None:
    [row] = signals_of(*padded([drawn(6, 0)], 0, 0), [0], SignalArguments())
    assert (row["logprob_gain"], row["history_tokens"]) == (0.0, 0)
    assert row["mean_entropy_with"] == row["mean_entropy_without"]


def test_a_signal_that_is_no_number_is_left_out_with_its_row() -> None:
    items = [drawn(3, 0), drawn(3, 1)]
    items[0][0].logps[1] = -math.inf
    with_history, without, mask = padded(items, 0, 0)
    empty = mask & torch.tensor([[True], [False]])
    assert signals_of(with_history, without, empty, [5, 5], SignalArguments()) == [{}, {}]


@pytest.mark.parametrize("fields", [{"rho": 0.0}, {"rho": 1.1}, {"d_sign": 0}, {"eps": 0.0}])
def test_constants_that_mean_nothing_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SignalArguments(**fields)  # pyright: ignore[reportArgumentType]
