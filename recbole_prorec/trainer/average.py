"""A moving average of the weights, which is what is evaluated and kept."""

import torch


class WeightAverage:
    """Exponential moving average over optimizer steps (Polyak averaging; arXiv 1706.03762 and many since evaluate it in the place of the
    last weights). One noisy step moves neither a validation score nor the model that it chooses.

    Outside of training the parameters hold the average, so that validation, checkpoints and kept states are of one model. Inside
    `with average.training():` they hold the weights that the optimizer moves.

    Args:
        parameters: name -> parameter. decay: of the average, in [0, 1); the first steps use less, (1 + step) / (10 + step), so that the
            start is soon forgotten. 0 means no average.
    """

    def __init__(self, parameters, decay):
        self.names, self.parameters = list(parameters), list(parameters.values())
        self.decay, self.step = decay, 0
        self.other = [parameter.detach().clone() for parameter in self.parameters]

    def training(self):
        return self

    def __enter__(self):
        self._exchange()

    def __exit__(self, *error):
        self._exchange()

    @torch.no_grad()
    def update(self):
        """Behind every optimizer step."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.other, self.parameters, 1 - decay)

    @torch.no_grad()
    def _exchange(self):
        for kept, parameter in zip(self.other, self.parameters):
            held = parameter.detach().clone()
            parameter.copy_(kept)
            kept.copy_(held)

    def state_dict(self):
        """What a resumed stage needs beside the model's weights."""
        return {"step": self.step, "weights": dict(zip(self.names, self.other))}

    def load_state_dict(self, state):
        self.step = state["step"]
        for name, kept in zip(self.names, self.other):
            kept.copy_(state["weights"][name])
