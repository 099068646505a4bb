"""White-box attacks that follow the sign of the input gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeproof.attacks.base import Attack, uniform_start
from spikeproof.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spikeproof.attacks.base import Model


@dataclass(frozen=True)
class FGSM(Attack):
    """One step of size ``step`` (default: the radius) along the sign of the gradient.

    Args:
        random_start: start at a uniformly drawn point of the ball.

    Source: Goodfellow et al., ICLR 2015; random start: Wong et al., ICLR 2020.
    """

    random_start: bool = False
    step: float | None = None

    @property
    def name(self) -> str:
        """The kind of attack."""
        return "fgsm"

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        start = uniform_start(x, self.strength, generator) if self.random_start else x
        gradient, _, _ = input_gradient(model, start, y)
        step = self.strength if self.step is None else self.step
        return start + step * gradient.sign()


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent that keeps of every image the point of highest loss it visited.

    Visited are the starts and the steps, before rounding to 8 bits: rounding may change the loss
    a little. The unperturbed image is visited only without a random start. A point that is
    misclassified ranks above any that is not.

    Args:
        steps: gradient steps per restart.
        step: size of one step; default 2.5 * strength / steps, at least one grey level.
        random_start: start every restart at a uniformly drawn point of the ball.
        restarts: number of starts.

    Source: Madry et al., ICLR 2018.
    """

    steps: int = 20
    step: float | None = None
    random_start: bool = True
    restarts: int = 1

    def __post_init__(self) -> None:
        """Check the counts."""
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"steps {self.steps} and restarts {self.restarts} must be at least 1")

    @property
    def name(self) -> str:
        """The kind of attack with its number of steps."""
        return f"pgd-{self.steps}"

    def step_size(self) -> float:
        """Return the step in use."""
        if self.step is not None:
            return self.step
        return min(self.strength, max(2.5 * self.strength / self.steps, 1 / 255))

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        worst = _Worst(x)
        for _ in range(self.restarts):
            point = uniform_start(x, self.strength, generator) if self.random_start else x
            for _ in range(self.steps):
                gradient, loss, wrong = input_gradient(model, point, y)
                worst.update(point, loss, wrong)
                point = self._project(point + self.step_size() * gradient.sign(), x)
            worst.update(point, *_judge(model, point, y))
        return worst.points


class _Worst:
    """Keep per image the point that is misclassified, and among those the largest loss."""

    def __init__(self, x: Tensor) -> None:
        self.points = x.clone()
        self.score: Tensor | None = None

    def update(self, points: Tensor, loss: Tensor, wrong: Tensor) -> None:
        # A cross-entropy in float32 stays below about 1e4 here; 1e6 ranks "wrong" above any loss.
        score = loss.double() + 1e6 * wrong
        if self.score is None:
            self.points, self.score = points.clone(), score
            return
        better = score > self.score
        self.points[better] = points[better]
        self.score[better] = score[better]


def input_gradient(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of each image's cross-entropy, that loss (N,), and wrong (N,) bool.

    Raises:
        InputError: a gradient is infinite or not a number, so that it shows no direction.
    """
    import torch

    point = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(point)
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), point)
    if not bool(torch.isfinite(gradient).all()):
        raise InputError(
            "the gradient with respect to the image is not finite",
            where="gradient attack",
            hint="Look for weights or a surrogate width that are extremely small or large.",
        )
    return gradient, loss.detach(), logits.detach().argmax(1) != y


def _judge(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    with torch.no_grad():
        logits = model(x)
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    return loss, logits.argmax(1) != y
