"""The learning rates of a stage are a function of its epoch and step."""

import math

import pytest
import torch

from recbole_prorec.trainer.decay import LearningRateDecay

STEPS, EPOCHS = 5, 4


def optimizer():
    return torch.optim.Adam([{"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1}, {"params": [torch.zeros(1, requires_grad=True)]}],
                            lr=0.01)


def rates_of(decay, epochs):
    """[steps, groups] of these epochs."""
    found = []
    for epoch in epochs:
        decay.begin_epoch(epoch, STEPS, EPOCHS)
        for _ in range(STEPS):
            found.append([group["lr"] for group in decay.optimizer.param_groups])
            decay.step()
    return found


def test_cosine_falls_from_each_groups_rate_to_nothing():
    decay = LearningRateDecay(optimizer(), "cosine")
    expected = [[rate * (1 + math.cos(math.pi * step / 20)) / 2 for rate in (0.1, 0.01)] for step in range(20)]
    assert rates_of(decay, range(EPOCHS)) == [pytest.approx(rates) for rates in expected]
    assert [group["lr"] for group in decay.optimizer.param_groups] == [pytest.approx(0), pytest.approx(0)]


def test_none_is_constant():
    assert rates_of(LearningRateDecay(optimizer(), "none"), range(EPOCHS)) == [[0.1, 0.01]] * 20


def test_a_resumed_optimizer_goes_on_with_the_rates_of_an_uninterrupted_one():
    killed, resumed = LearningRateDecay(optimizer(), "cosine"), LearningRateDecay(optimizer(), "cosine")
    whole = rates_of(killed, range(2))
    resumed.optimizer.load_state_dict(killed.optimizer.state_dict())
    whole += rates_of(resumed, range(2, EPOCHS))
    assert whole == rates_of(LearningRateDecay(optimizer(), "cosine"), range(EPOCHS))
