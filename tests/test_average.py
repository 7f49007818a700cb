"""The moving average of the weights is the one written out, stands in the model outside of training, and survives a resume."""

import pytest
import torch

from recbole_prorec.trainer.average import WeightAverage

STEPS = 30


def trained(decay, steps=STEPS, average=None, weight=None):
    """A weight that grows by 1 a step, and its average."""
    weight = torch.nn.Parameter(torch.zeros(3)) if weight is None else weight
    average = average or WeightAverage({"weight": weight}, decay)
    with average.training():
        for _ in range(steps):
            weight.data += 1
            average.update()
    return weight, average


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_outside_of_training_the_weight_is_the_average(decay):
    expected = 0.0
    for step in range(1, STEPS + 1):
        used = min(decay, (1 + step) / (10 + step))
        expected = used * expected + (1 - used) * step
    weight, average = trained(decay)
    torch.testing.assert_close(weight.data, torch.full((3,), expected))
    with average.training():
        assert torch.equal(weight.data, torch.full((3,), float(STEPS)))


def test_without_decay_the_average_is_the_weight():
    assert torch.equal(trained(0.0)[0].data, torch.full((3,), float(STEPS)))


def test_a_resumed_average_goes_on_as_if_nothing_had_happened():
    weight, average = trained(0.9, steps=10)
    kept, state = weight.detach().clone(), average.state_dict()
    state = {"step": state["step"], "weights": {name: value.clone() for name, value in state["weights"].items()}}
    again = torch.nn.Parameter(kept)
    resumed = WeightAverage({"weight": again}, 0.9)
    resumed.load_state_dict(state)
    torch.testing.assert_close(trained(0.9, 20, resumed, again)[0].data, trained(0.9)[0].data)


def test_the_weights_come_back_when_training_is_interrupted():
    weight, average = trained(0.9)
    before = weight.detach().clone()
    with pytest.raises(KeyboardInterrupt), average.training():
        raise KeyboardInterrupt
    assert torch.equal(weight.data, before)
