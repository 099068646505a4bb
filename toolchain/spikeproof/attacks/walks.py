"""Attacks that walk on the 8-bit grid: every point they visit is an image that can be stored.

A walk goes on in real numbers, but the network sees each point rounded to whole grey levels inside
the ball, and the gradient goes straight through that rounding. So what fooled the network on the
way still does when it is stored. An image that is misclassified leaves the walk.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.base import GREY_LEVELS
from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.grid import F64, LATER, Asked, Draws, GridAttack, Images, Labels, Oracle
from spikeproof.attacks.losses import TARGETED, loss_of
from spikeproof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikeproof.attacks.twin import Twin

F32 = NDArray[np.float32]
__all__ = ["APGD", "SAPGD", "Images", "Labels", "MomentumPGD", "TwinOracle", "Walk", "WalkState"]
_LARGEST = 1e15
"""A float32 beyond 1e19 has no square."""


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


@dataclass(frozen=True)
class Walk(GridAttack):
    """Walk up a loss from a start, the step halved where it stops paying.

    A variant says how a step follows from the gradients so far (:meth:`move`) and how long the
    first one is (``first_step``, in radii). At the checkpoints of APGD (Croce and Hein, 2020) an
    image whose loss grew too rarely, or whose best point did not change, goes back to its best
    point and halves its step.

    Args:
        steps: gradients per restart.
        loss: "ce", "margin" or "dlr", see :mod:`spikeproof.attacks.losses`; or "targeted-margin" or
            "targeted-dlr": towards one other class at a time.
        restarts: number of starts. The first is the image itself, unless ``random_start``; all
            others are drawn uniformly from the ball.
        random_start: draw the first start as well.
        targets: with a targeted loss: how many other classes are tried, the likeliest first, each
            with all steps and restarts; at most those there are.
    """

    steps: int = 100
    loss: str = "margin"
    restarts: int = 1
    random_start: bool = False
    targets: int = field(default=9, metadata=LATER)

    white_box = True
    first_step: ClassVar[float] = 1.0
    halves: ClassVar[bool] = True
    """Whether steps are halved at checkpoints; else they are all as long."""

    def __post_init__(self) -> None:
        """Check counts and loss."""
        super().__post_init__()
        if min(self.steps, self.restarts, self.targets) < 1:
            raise InputError(
                f"steps {self.steps}, restarts {self.restarts} and targets {self.targets} must be "
                "at least 1"
            )
        if not self._targeted:
            loss_of(self.loss)

    @property
    def name(self) -> str:
        """Kind, loss, steps and starts: ``sa-pgd-margin-100``, ``sa-pgd-ce-100-random-x3``."""
        return f"{self.kind}-{self.loss}-{self.steps}{self._starts}"

    @property
    def _starts(self) -> str:
        many = f"-x{self.restarts}" if self.restarts > 1 else ""
        aims = f"-t{self.targets}" if self._targeted else ""
        return f"{self._first_start}{many}{aims}"

    @property
    def _first_start(self) -> str:
        return "-random" if self.random_start else ""

    @property
    def _targeted(self) -> bool:
        return self.loss in TARGETED

    @property
    def gradients(self) -> int:
        """Gradients per image that survives."""
        return self.steps * self.restarts * (self.targets if self._targeted else 1)

    @abstractmethod
    def move(self, walk: WalkState, gradient: F32) -> F32:
        """Return where images go from ``walk.point``, in grey levels; projected afterwards."""

    def start(self, x: Images, rows: NDArray[np.int64], draws: Draws) -> F32:
        """Return where a random start of images of these positions is, in grey levels."""
        drawn = draws.uniform(rows).astype(np.float32)
        return x.astype(np.float32) + np.float32(self.strength) * drawn

    def find(self, network: Asked, x: Images, y: Labels, draws: Draws) -> Images:
        """Return one image for each: one that was misclassified, else that of the largest loss."""
        found, score = x.copy(), np.full(len(x), -np.inf)
        aims, left = self._aims(network, x, y)
        for aim in aims:
            for restart in range(self.restarts):
                if not len(left):
                    return found
                start = x[left].astype(np.float32)
                if restart or self.random_start:
                    start = self.start(x[left], left, draws)
                walked = self._once(network.oracle(), x[left], y[left], start, aim[left])
                better = walked.wrong | (walked.score > score[left])
                found[left[better]] = walked.images[better]
                score[left[better]] = walked.score[better]
                left = left[~walked.wrong]
        return found

    def _aims(self, network: Asked, x: Images, y: Labels) -> tuple[list[Labels], NDArray[np.int64]]:
        """Return the classes to walk to, one array for each that is tried; the label: to any.

        And the positions of the images to walk from: one that the oracle gets wrong as it is has
        left the walk already.
        """
        everything = np.arange(len(x))
        if not self._targeted or not len(x):
            return [y], everything
        logits, _ = network.oracle().ask(x)
        right = logits.argmax(axis=1) == y
        logits = logits.copy()
        logits[everything, y] = -np.inf
        order = np.argsort(-logits, axis=1, kind="stable")
        return list(order.T[: min(self.targets, logits.shape[1] - 1)]), everything[right]

    def _once(self, oracle: Oracle, x: Images, y: Labels, start: F32, aim: Labels) -> _Walked:
        walk = WalkState.begin(self, x, y, start, aim)
        marks = _checkpoints(self.steps) if self.halves else {}
        done = _Walked(x.copy(), np.full(len(x), -np.inf), np.zeros(len(x), np.bool_))
        for step in range(self.steps + 1):
            seen = walk.seen()
            logits, back = oracle.ask(seen)
            values, of_logits = self._loss(logits, walk)
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

    def _loss(self, logits: F64, walk: WalkState) -> tuple[F64, F64]:
        if self._targeted:
            return TARGETED[self.loss](logits, walk.y, walk.aim)
        return loss_of(self.loss)(logits, walk.y)


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
class WalkState:
    """Images that are still walking; everything is in grey levels, one row per image."""

    attack: Walk
    x: F32
    y: Labels
    aim: Labels
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
    def begin(cls, attack: Walk, x: Images, y: Labels, start: F32, aim: Labels) -> WalkState:
        """Start a walk of all images."""
        n = len(x)
        worst = np.full(n, -np.inf)
        state = cls(
            attack,
            x.astype(np.float32),
            y,
            aim,
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
        """Return the nearest points inside the ball and the range of images."""
        radius = np.float32(self.attack.strength)
        return np.clip(np.clip(point, self.x - radius, self.x + radius), 0, GREY_LEVELS)

    def seen(self) -> Images:
        """Return the points as the network sees them."""
        return np.rint(self.point).astype(np.uint8)

    def keep(self, rows: NDArray[Any]) -> None:
        """Go on with some of the images."""
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
        """Move, and stay inside the ball."""
        self.before, self.point = self.point, self.projected(point)


@dataclass(frozen=True)
class APGD(Walk):
    """Steps along the sign of the gradient, with a quarter of the step before; first: two radii.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness", ICML 2020.
    """

    kind = "apgd"
    first_step = 2.0

    def move(self, walk: WalkState, gradient: F32) -> F32:
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

    def move(self, walk: WalkState, gradient: F32) -> F32:
        """Return the next points."""
        gradient = _squarable(gradient)
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


def _squarable(gradient: F32) -> F32:
    """Return gradients whose squares are numbers; a gradient's length does not matter here.

    A narrow slope with the reset attached, and large weights, can make them grow from step to step.
    """
    largest = np.abs(gradient).max(axis=(1, 2, 3), keepdims=True)
    beyond = largest > _LARGEST
    return gradient / np.where(beyond, largest, np.float32(1)) if beyond.any() else gradient


@dataclass(frozen=True)
class MomentumPGD(Walk):
    """Steps along the sign of all gradients so far, each as long as its mean.

    Source: Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018.
    """

    kind = "momentum-pgd"

    def move(self, walk: WalkState, gradient: F32) -> F32:
        """Return the next points."""
        size = np.abs(gradient).mean(axis=(1, 2, 3), keepdims=True)
        held = walk.held.get("m", np.zeros_like(gradient)) + gradient / np.maximum(size, 1e-30)
        walk.held = {"m": held}
        return np.asarray(walk.point + walk.size * np.sign(held), np.float32)
