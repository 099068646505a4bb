"""White-box attacks that follow the input gradient, as a walk whose parts can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeproof.attacks.base import GREY_LEVELS, Attack, needed
from spikeproof.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spikeproof.attacks.base import Model

    Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class GradientAttack(Attack):
    """Walk up the loss from a start, back into the ball after every step.

    A variant replaces one of the hooks :meth:`start`, :meth:`loss`, :meth:`gradient`,
    :meth:`optimiser`, :meth:`step_size` and :meth:`project`. How the network lets a gradient
    through its spikes and resets is the estimator's, see :mod:`spikeproof.attacks.estimators`.

    Of every image the point of highest loss it visited is kept. Visited are the starts and the
    steps, before rounding to 8 bits: rounding may change the loss a little. The unperturbed image
    is visited only without a random start. A point that is misclassified ranks above any that is
    not.

    Args:
        steps: gradient steps per restart.
        step: size of one step in grey levels.
        random_start: start every restart at a uniformly drawn point of the ball.
        restarts: number of starts.
    """

    steps: int = 1
    step: float | None = None
    random_start: bool = False
    restarts: int = 1

    adversarial = True

    def __post_init__(self) -> None:
        """Check the counts."""
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"steps {self.steps} and restarts {self.restarts} must be at least 1")

    @property
    def gradients(self) -> int:
        """Gradients per image with one estimator."""
        return self.steps * self.restarts

    def start(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return where a restart begins: x, or x + U(-radius, radius) clipped to [0, 1]."""
        if not self.random_start:
            return x
        import torch

        noise = torch.rand(x.shape, generator=needed(generator), dtype=torch.float32).to(x)
        return (x + self.radius * (2 * noise - 1)).clamp(0, 1)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return what is to grow, (N,): the cross-entropy."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, y, reduction="none")

    def gradient(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient of each image's loss, that loss (N,), and wrong (N,) bool."""
        return input_gradient(model, x, y, self.loss)

    def optimiser(self) -> Callable[[Tensor], Tensor]:
        """Return a new optimiser, which makes a direction of each gradient of one restart."""
        return lambda gradient: gradient.sign()

    def step_size(self) -> float:
        """Return the length of a step where images are in [0, 1]; by default the radius."""
        return self.radius if self.step is None else self.step / GREY_LEVELS

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        worst = _Worst(x)
        for _ in range(self.restarts):
            point, direction = self.start(x, generator), self.optimiser()
            for _ in range(self.steps):
                gradient, loss, wrong = self.gradient(model, point, y)
                worst.update(point, loss, wrong)
                point = self.project(point + self.step_size() * direction(gradient), x)
            worst.update(point, *self._judge(model, point, y))
        return worst.points

    def _judge(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        with torch.no_grad():
            logits = model(x)
            return self.loss(logits, y), logits.argmax(1) != y


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


def input_gradient(model: Model, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of each image's loss, that loss (N,), and wrong (N,) bool.

    Raises:
        InputError: a gradient is infinite or not a number, so that it shows no direction.
    """
    import torch

    point = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(point)
        values = loss(logits, y)
        (gradient,) = torch.autograd.grad(values.sum(), point)
    if not bool(torch.isfinite(gradient).all()):
        raise InputError(
            "the gradient with respect to the image is not finite",
            where="gradient attack",
            hint="Look for weights or a surrogate width that are extremely small or large.",
        )
    return gradient, values.detach(), logits.detach().argmax(1) != y
