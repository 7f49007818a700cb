"""Learning rates that fall over the epochs of a stage."""

import math


class LearningRateDecay:
    """Half a cosine from the optimizer's learning rates to 0 (arXiv 1608.03983, without restarts), step by step. What starts warm is
    learned in a fraction of the epochs that a constant rate takes, which has to be low all the time to end well.

    The rates are a function of the epoch and the step alone, so that a resumed stage has those of one that was not interrupted.

    Args:
        optimizer: torch's; its groups' rates are those of the start. kind: "cosine", or "none" for constant ones.
    """

    def __init__(self, optimizer, kind):
        self.optimizer, self.kind = optimizer, kind
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # torch's own name for it; it lies in the optimizer's state

    def begin_epoch(self, epoch, n_steps, n_epochs):
        """Before the first of an epoch's n_steps. epoch: from 0."""
        self.done, self.steps = epoch * n_steps, n_epochs * n_steps
        self._set()

    def step(self):
        """Behind every optimizer step."""
        self.done += 1
        self._set()

    def _set(self):
        if self.kind == "cosine":
            share = (1 + math.cos(math.pi * min(self.done / self.steps, 1))) / 2
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
