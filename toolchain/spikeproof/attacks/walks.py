"""Attacks that walk on the 8-bit grid: every point they visit is an image that can be stored.

A walk goes on in real numbers, but the network sees each point rounded to whole grey levels inside
the ball, and the gradient goes straight through that rounding. So what fooled the network on the
way still does when it is stored. An image that is misclassified leaves the walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.base import GREY_LEVELS, Attack, needed
from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.losses import loss_of
from spikeproof.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Self

    from spikeproof.attacks.base import Model
    from spikeproof.attacks.twin import Twin

Images = NDArray[np.uint8]
F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Labels = NDArray[np.int64]
Draw = Callable[[NDArray[np.int64]], F64]
"""Gives uniform numbers in [-1, 1), (n, C, H, W), for images of these positions."""


class Oracle(Protocol):
    """What answers an attack: logits of images, and the way back from them."""

    def ask(self, x: Images) -> tuple[F64, Callable[[F64], NDArray[Any]]]:
        """Return logits (N, K), and a function from their gradient to that of the images."""
        ...

    def keep(self, rows: NDArray[Any]) -> None:
        """Go on with some of the images of the last question."""
        ...


@dataclass
class TwinOracle:
    """A twin, asked with an estimator; what that remembers stays with the images."""

    twin: Twin
    estimator: Estimator
    memory: Any = field(init=False)

    def __post_init__(self) -> None:
        """Begin without memory."""
        from spikeproof.attacks.twin import Memory

        self.memory = Memory()

    def ask(self, x: Images) -> tuple[F64, Callable[[F64], NDArray[Any]]]:
        """Run the twin."""
        run = self.twin.forward(x)
        return run.logits, lambda of: self.twin.back(run, of, self.estimator, self.memory)

    def keep(self, rows: NDArray[Any]) -> None:
        """Forget images."""
        self.memory = self.memory.of(rows)


@dataclass
class _TorchOracle:
    """A torch module; how its spikes pass gradients is its own matter."""

    model: Model
    kind: Any

    def ask(self, x: Images) -> tuple[F64, Callable[[F64], NDArray[Any]]]:
        import torch

        point = torch.from_numpy(x.astype(np.float64) / GREY_LEVELS).to(self.kind)
        point.requires_grad_()
        with torch.enable_grad():
            logits = self.model(point)

        def back(of_logits: F64) -> NDArray[Any]:
            of = torch.from_numpy(of_logits).to(logits)
            (found,) = torch.autograd.grad(logits, point, of)
            return np.asarray(found.cpu().numpy())

        return logits.detach().cpu().double().numpy(), back

    def keep(self, rows: NDArray[Any]) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True)
class Walk(Attack):
    """Walk up a loss from a start, the step halved where it stops paying.

    A variant says how a step follows from the gradients so far (:meth:`move`) and how long the
    first one is (``first_step``, in radii). At the checkpoints of APGD (Croce and Hein, 2020) an
    image whose loss grew too rarely, or whose best point did not change, goes back to its best
    point and halves its step.

    Args:
        steps: gradients per restart.
        loss: "ce", "margin" or "dlr", see :mod:`spikeproof.attacks.losses`.
        restarts: number of starts. The first is the image itself, unless ``random_start``; all
            others are drawn uniformly from the ball.
        random_start: draw the first start as well.
    """

    steps: int = 100
    loss: str = "margin"
    restarts: int = 1
    random_start: bool = False

    adversarial = True
    first_step: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check counts and loss."""
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"steps {self.steps} and restarts {self.restarts} must be at least 1")
        loss_of(self.loss)

    @classmethod
    def at(
        cls,
        strength: float,
        steps: int,
        *,
        step: float | None = None,
        random_start: bool | None = None,
    ) -> Self:
        """Return this attack as a suite or recipe asks for it."""
        return cls(strength, steps=steps, random_start=bool(random_start))

    @property
    def name(self) -> str:
        """Kind, loss, steps and starts: ``sa-pgd-margin-100``, ``sa-pgd-ce-100-random-x3``."""
        start = "-random" if self.random_start else ""
        many = f"-x{self.restarts}" if self.restarts > 1 else ""
        return f"{self.kind}-{self.loss}-{self.steps}{start}{many}"

    @property
    def gradients(self) -> int:
        """Gradients per image that survives."""
        return self.steps * self.restarts

    def move(self, walk: _State, gradient: F32) -> F32:
        """Return where images go from ``walk.point``, in grey levels; projected afterwards."""
        raise NotImplementedError

    def run(self, oracle: Callable[[], Oracle], x: Images, y: Labels, draw: Draw) -> Images:
        """Return one image for each: one that was misclassified, else that of the largest loss.

        Args:
            oracle: makes what is asked, anew for each restart.
            x: uint8 (N, C, H, W).
            y: labels (N,).
            draw: makes random starts.
        """
        found, score = x.copy(), np.full(len(x), -np.inf)
        left = np.arange(len(x))
        for restart in range(self.restarts):
            if not len(left):
                break
            start = x[left].astype(np.float32)
            if restart or self.random_start:
                start = start + np.float32(self.strength) * draw(left).astype(np.float32)
            walked = self._once(oracle(), x[left], y[left], start)
            better = walked.wrong | (walked.score > score[left])
            found[left[better]] = walked.images[better]
            score[left[better]] = walked.score[better]
            left = left[~walked.wrong]
        return found

    def _once(self, oracle: Oracle, x: Images, y: Labels, start: F32) -> _Walked:
        walk = _State.begin(self, x, y, start)
        loss, marks = loss_of(self.loss), _checkpoints(self.steps)
        done = _Walked(x.copy(), np.full(len(x), -np.inf), np.zeros(len(x), np.bool_))
        for step in range(self.steps + 1):
            seen = walk.seen()
            logits, back = oracle.ask(seen)
            values, of_logits = loss(logits, walk.y)
            wrong = logits.argmax(axis=1) != walk.y
            done.update(walk.rows, seen, values, wrong)
            gradient = None if step == self.steps or wrong.all() else back(of_logits)
            if gradient is None:
                break
            gradient = gradient.astype(np.float32, copy=False)
            if wrong.any():
                stay = np.flatnonzero(~wrong)
                oracle.keep(stay)
                walk.keep(stay)
                values, gradient = values[stay], gradient[stay]
            walk.note(values, gradient)
            if step in marks:
                gradient = walk.check(gradient, marks[step])
            walk.go(self.move(walk, gradient))
        return done

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        import torch

        images = np.rint(x.cpu().double().numpy() * GREY_LEVELS).astype(np.uint8)

        def draw(rows: NDArray[np.int64]) -> F64:
            shape = (len(rows), *images.shape[1:])
            drawn = torch.rand(shape, generator=needed(generator), dtype=torch.float64)
            return np.asarray(2 * drawn.numpy() - 1)

        found = self.run(
            lambda: _TorchOracle(model, x.dtype), images, y.cpu().numpy().astype(np.int64), draw
        )
        return torch.from_numpy(found.astype(np.float64) / GREY_LEVELS).to(x)


def _checkpoints(steps: int) -> dict[int, int]:
    """Return the steps at which a walk looks back, and how many steps before each."""
    at, before, found = 0.22, 0.0, {}
    last = 0
    while at < 1:
        step = int(np.ceil(at * steps))
        if step > last:
            found[step] = step - last
            last = step
        at, before = at + max(at - before - 0.03, 0.06), at
    return found


@dataclass
class _Walked:
    images: Images
    score: F64
    wrong: NDArray[np.bool_]

    def update(
        self, rows: NDArray[np.int64], seen: Images, values: F64, wrong: NDArray[np.bool_]
    ) -> None:
        better = wrong | (values > self.score[rows])
        at = rows[better]
        self.images[at], self.score[at] = seen[better], values[better]
        self.wrong[rows[wrong]] = True


@dataclass
class _State:
    """Images that are still walking; everything is in grey levels, one row per image."""

    attack: Walk
    x: F32
    y: Labels
    rows: NDArray[np.int64]
    point: F32
    before: F32
    best: F32
    best_gradient: F32
    best_loss: F64
    last_loss: F64
    best_then: F64
    grown: NDArray[np.int64]
    size: F32
    halved: NDArray[np.bool_]
    held: dict[str, F32]

    @classmethod
    def begin(cls, attack: Walk, x: Images, y: Labels, start: F32) -> _State:
        n = len(x)
        worst = np.full(n, -np.inf)
        state = cls(
            attack,
            x.astype(np.float32),
            y,
            np.arange(n),
            start,
            start,
            start.copy(),
            np.zeros_like(start),
            worst.copy(),
            worst.copy(),
            worst.copy(),
            np.zeros(n, np.int64),
            np.full((n, 1, 1, 1), attack.first_step * attack.strength, np.float32),
            np.ones(n, np.bool_),
            {},
        )
        state.point = state.before = state.projected(start)
        return state

    def projected(self, point: F32) -> F32:
        radius = np.float32(self.attack.strength)
        return np.clip(np.clip(point, self.x - radius, self.x + radius), 0, GREY_LEVELS)

    def seen(self) -> Images:
        return np.rint(self.point).astype(np.uint8)

    def keep(self, rows: NDArray[Any]) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(self, name, value[rows])
        self.held = {name: value[rows] for name, value in self.held.items()}

    def note(self, values: F64, gradient: F32) -> None:
        """Remember the best point of each image and how often its loss grew."""
        self.grown += values > self.last_loss
        self.last_loss = values
        better = values > self.best_loss
        self.best[better], self.best_loss[better] = self.point[better], values[better]
        self.best_gradient[better] = gradient[better]

    def check(self, gradient: F32, steps: int) -> F32:
        """Halve the steps that do not pay, go back to the best point; return gradients there."""
        rare = self.grown < 0.75 * steps
        stuck = ~self.halved & (self.best_loss <= self.best_then)
        halve = rare | stuck
        self.size[halve] /= 2
        self.point, gradient = self.point.copy(), gradient.copy()
        self.point[halve], gradient[halve] = self.best[halve], self.best_gradient[halve]
        self.halved, self.best_then = halve, self.best_loss.copy()
        self.grown[:] = 0
        return gradient

    def go(self, point: F32) -> None:
        self.before, self.point = self.point, self.projected(point)


@dataclass(frozen=True)
class APGD(Walk):
    """Steps along the sign of the gradient, with a quarter of the step before; first: two radii.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness", ICML 2020.
    """

    kind = "apgd"
    first_step = 2.0

    def move(self, walk: _State, gradient: F32) -> F32:
        """Return the next points."""
        ahead = walk.projected(walk.point + walk.size * np.sign(gradient))
        point = walk.point + 0.75 * (ahead - walk.point) + 0.25 * (walk.point - walk.before)
        return np.asarray(point, np.float32)


@dataclass(frozen=True)
class SAPGD(Walk):
    """Steps of each pixel by its own momentum over the root of its second moment, clipped.

    Source: "Towards reliable evaluation of adversarial robustness for spiking neural networks",
    2025 (arXiv 2512.22522), in own words.
    """

    kind = "sa-pgd"

    def move(self, walk: _State, gradient: F32) -> F32:
        """Return the next points."""
        size = np.abs(gradient).mean(axis=(1, 2, 3), keepdims=True)
        square = np.square(gradient).mean(axis=(1, 2, 3), keepdims=True)
        g = gradient / np.maximum(size, 1e-30)
        h = np.square(gradient) / np.maximum(square, 1e-30)
        zero = np.zeros_like(gradient)
        m = 0.5 * walk.held.get("m", zero) + g
        u = 0.8 * walk.held.get("u", zero) + h
        walk.held = {"m": m, "u": u}
        step = walk.size * m / np.sqrt(np.maximum(u, 1e-12))
        return np.asarray(walk.point + np.clip(step, -walk.size, walk.size), np.float32)


@dataclass(frozen=True)
class MomentumPGD(Walk):
    """Steps along the sign of all gradients so far, each as long as its mean.

    Source: Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018.
    """

    kind = "momentum-pgd"

    def move(self, walk: _State, gradient: F32) -> F32:
        """Return the next points."""
        size = np.abs(gradient).mean(axis=(1, 2, 3), keepdims=True)
        held = walk.held.get("m", np.zeros_like(gradient)) + gradient / np.maximum(size, 1e-30)
        walk.held = {"m": held}
        return np.asarray(walk.point + walk.size * np.sign(held), np.float32)
