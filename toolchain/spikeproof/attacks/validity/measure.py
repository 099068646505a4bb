"""Measure one network under a suite, and under everything the suite must not be weaker than."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import ADAPTIVE, Estimator
from spikeproof.attacks.grid import F64, Draws, Images, Labels, Oracle
from spikeproof.attacks.square import Square
from spikeproof.attacks.suites import Member, Suite
from spikeproof.attacks.validity.plain import naive_draws, naive_pgd
from spikeproof.attacks.validity.record import Examined, Tried
from spikeproof.attacks.validity.watch import Watch
from spikeproof.attacks.victim import Victim, attack_radii, within
from spikeproof.attacks.walks import SAPGD, Walk
from spikeproof.errors import MissingExtraError, UnsupportedError

Mask = NDArray[np.bool_]
ESTIMATORS = (
    Estimator(0.25, "attached"),
    Estimator(0.25, "detached"),
    Estimator(1.0, "attached"),
    Estimator(1.0, "detached"),
    Estimator(0.25, "detached", "arctangent"),
    Estimator(0.425, "attached", ADAPTIVE),
    Estimator(0.425, "detached", ADAPTIVE),
)
"""Compared with one another, each with the same short walk."""
SHORT = SAPGD(0, steps=10, loss="margin")
EVERYTHING = 255
"""The radius of the ball that holds all images."""
QUERIES = 200
_FEWEST, _REPEATED, _LOOKS = 8, 8, 3
_GUESSES = 16


def examine(
    victim: Victim,
    suite: Suite,
    x: Images,
    y: Labels,
    radii: Sequence[int],
    *,
    seed: int = 0,
    names: Sequence[int] | None = None,
) -> Examined:
    """Attack images in all the ways by which the figure of a suite is judged.

    Args:
        victim: a trained network or a chip network.
        suite: whose figure it is.
        x: uint8 (N, C, H, W).
        y: labels (N,).
        radii: whole grey levels, ascending; the largest is the one that is looked into.
        seed: of all random draws.
        names: whole numbers that tell images apart, see :meth:`Suite.run`.
    """
    known = np.asarray(names if names is not None else range(len(x)))
    told = {"suite": suite.name, "radii": list(radii), "samples": len(x)}
    if not any(isinstance(member.attack, Walk) for member in suite.members):
        return Examined.model_validate({**told, "why_not": f"{suite.name} follows no gradient"})
    run = _Run(victim, suite, x, y, list(radii), seed, known)
    try:
        victim.twin  # noqa: B018 - made here, so that what has none is told once
    except (UnsupportedError, MissingExtraError) as error:
        return Examined.model_validate({**told, "why_not": error.what})
    return run.all()


@dataclass(frozen=True)
class _TwinAlone:
    """Answers with the logits of the twin, which cost a fraction of the exact network's."""

    victim: Victim

    def logits(self, x: Images) -> F64:
        return self.victim.twin.logits(x)

    def oracle(self) -> Oracle:
        raise NotImplementedError  # only attacks without gradients are given this


def _longer(member: Member, times: float) -> Member:
    """Return a member that follows gradients with so many times as many steps."""
    assert isinstance(member.attack, Walk)
    steps = max(1, int(times * member.attack.steps))
    return replace(member, attack=replace(member.attack, steps=steps))


@dataclass(frozen=True)
class _Active:
    planted: Tried
    none: int
    guessed: Tried


@dataclass(eq=False)
class _Run:
    victim: Victim
    suite: Suite
    x: Images
    y: Labels
    radii: list[int]
    seed: int
    names: NDArray[np.int64]
    clean: Mask = field(init=False)

    @property
    def radius(self) -> int:
        return self.radii[-1]

    def all(self) -> Examined:
        self.clean = self.victim.predictions(self.x) == self.y
        left, first, found, watched, by = self._suite()
        survivors = np.flatnonzero(left)[: max(_FEWEST, len(self.x) // 4)]
        afresh, of_walks = self._afresh()
        repeat, again = self._repeat()
        active = self._active()
        asked, zero = (sum(getattr(w, key) for _, w in watched) for key in ("asked", "zero"))
        return Examined(
            suite=self.suite.name,
            radii=self.radii,
            samples=len(self.x),
            clean=self.clean.tolist(),
            left=left.tolist(),
            first=first.tolist(),
            afresh=[row.tolist() for row in afresh],
            naive=self._naive().tolist(),
            estimators={e.name: self._short(e).tolist() for e in ESTIMATORS},
            late=self._late(watched),
            masked=int(((asked > 0) & (2 * zero >= asked)).sum()),
            zero_share=float(zero.sum() / max(asked.sum(), 1)),
            unbounded=self._unbounded(),
            doubled=self._doubled(survivors, by),
            black_box=self._black_box(survivors),
            queries=QUERIES,
            planted=active.planted,
            unplanted=active.none,
            guessed=active.guessed,
            unequal=int((of_walks[: len(again)] != again).any(axis=(1, 2, 3)).sum()),
            repeated=repeat,
            unstable=self._unstable(found),
        )

    # --- the suite ---------------------------------------------------------------------------

    def _suite(
        self,
    ) -> tuple[Mask, Mask, Images, list[tuple[Member, Watch]], NDArray[np.int64]]:
        """Run the members in turn on what is left, watched; as :meth:`Suite.run` does."""
        left, found = self.clean.copy(), self.x.copy()
        watched, by = [], np.zeros(len(self.suite.members), np.int64)
        first = left
        for k, member in enumerate(self.suite.members):
            watch = None
            if member.estimator is not None:
                watch = Watch(self.victim.twin, member.estimator, self.y)
                watch.step[~left] = 0
                watched.append((member, watch))
            wrong, images = self._attack(member, left, self.radius, k, watch)
            found[wrong], left = images[wrong], left & ~wrong
            by[k] = wrong.sum()
            if member is self._first:
                first = left
        return left, first, found, watched, by

    def _attack(
        self, member: Member, mask: Mask, radius: int, stream: int = 0, watch: Watch | None = None
    ) -> tuple[Mask, Images]:
        """Attack the images of a mask; return which fell, and images, as long as all."""
        found = attack_radii(
            member.attack,
            self.victim,
            member.estimator,
            self.x,
            self.y,
            [radius],
            seed=(self.seed, stream),
            names=self.names.tolist(),
            done=~mask[None],
            oracle=watch,
        )
        return found.broken[0], found.images[0]

    def _late(self, watched: list[tuple[Member, Watch]]) -> int:
        """Count images that fell within the last tenth of a member's steps."""
        late = np.zeros(len(self.x), np.bool_)
        for member, watch in watched:
            assert isinstance(member.attack, Walk)
            late |= (watch.step > 0.9 * member.attack.steps) & (watch.asked > 0)
        return int(late.sum())

    # --- the same attack, otherwise ----------------------------------------------------------

    @property
    def _first(self) -> Member:
        """The first member that follows gradients."""
        return next(m for m in self.suite.members if isinstance(m.attack, Walk))

    @property
    def _quarter(self) -> Member:
        return _longer(self._first, 0.25)

    def _afresh(self) -> tuple[list[Mask], Images]:
        rows, images = [], self.x
        for radius in sorted({self.radii[0], self.radius}):
            wrong, images = self._attack(self._quarter, self.clean, radius)
            rows.append(self.clean & ~wrong)
        return rows, images

    def _repeat(self) -> tuple[int, Images]:
        """Attack the first images once more, as :meth:`_afresh` did."""
        mask = self.clean.copy()
        mask[_REPEATED:] = False
        _, images = self._attack(self._quarter, mask, self.radius)
        return int(mask.sum()), images[:_REPEATED]

    def _unbounded(self) -> Tried:
        wrong, _ = self._attack(self._first, self.clean, EVERYTHING)
        return Tried(images=int(self.clean.sum()), successes=int(wrong.sum()))

    def _doubled(self, survivors: NDArray[np.int64], by: NDArray[np.int64]) -> Tried:
        members = self.suite.members
        walks = [k for k, member in enumerate(members) if isinstance(member.attack, Walk)]
        longer = _longer(members[max(walks, key=lambda k: by[k])], 2)
        mask = np.isin(np.arange(len(self.x)), survivors)
        wrong, _ = self._attack(longer, mask, self.radius, len(self.suite.members))
        return Tried(images=len(survivors), successes=int(wrong.sum()))

    # --- other attacks -----------------------------------------------------------------------

    def _right(self, images: Images) -> Mask:
        """Tell which of the images that are right unperturbed still are."""
        right: Mask = self.clean.copy()
        rows = np.flatnonzero(right)
        if len(rows):
            right[rows] = self.victim.predictions(images[rows]) == self.y[rows]
        return right

    def _naive(self) -> Mask:
        draws = naive_draws(self.seed, self.radius, self.names, self.x.shape[1:])
        return self._right(naive_pgd(self.victim, self.x, self.y, self.radius, draws))

    def _short(self, estimator: Estimator) -> Mask:
        wrong, _ = self._attack(Member(SHORT, estimator), self.clean, self.radius)
        return np.asarray(self.clean & ~wrong)

    def _black_box(self, survivors: NDArray[np.int64]) -> Tried:
        x, y = self.x[survivors], self.y[survivors]
        if not len(x):
            return Tried()
        draws = Draws((self.seed, self.radius), self.names[survivors], x.shape[1:])
        square = Square(self.radius, queries=QUERIES)
        found = within(square.find(_TwinAlone(self.victim), x, y, draws), x, self.radius)
        wrong = self.victim.predictions(found) != y
        return Tried(images=len(x), successes=int(wrong.sum()))

    def _active(self) -> _Active:
        from spikeproof.attacks.validity.plant import Planted, corners, hidden, plant

        twin = self.victim.twin
        plants = found = guesses = guessed = none = 0
        for image, name in zip(self.x, self.names.tolist(), strict=True):
            rng = np.random.default_rng([self.seed, self.radius, 13, name])
            one = plant(twin, image, self.radius, rng) if hidden(twin) else None
            if one is None:
                none += 1
                continue
            planted = Planted(self.victim.network, self.victim.folded, self.victim, one)
            if planted.predictions(np.stack([image, one.point])).tolist() != [0, 1]:
                none += 1  # only the twin's rounding set it apart
                continue
            plants += 1
            run = planted.twin.logits(corners(image, self.radius, _GUESSES, rng))
            guesses, guessed = guesses + _GUESSES, guessed + int((run.argmax(axis=1) != 0).sum())
            label = np.zeros(1, np.int64)
            broken, _ = self.suite.run(
                planted, image[None], label, [self.radius], seed=self.seed, names=[name]
            )
            found += int(broken.broken[0, 0])
        return _Active(
            Tried(images=plants, successes=found),
            none,
            Tried(images=guesses, successes=guessed),
        )

    def _unstable(self, found: Images) -> int:
        """Count images whose class changes from one look to the next."""
        shown = np.concatenate([self.x, found])
        looks = np.stack([self.victim.predictions(shown) for _ in range(_LOOKS)])
        return int((looks != looks[0]).any(axis=0).sum())
