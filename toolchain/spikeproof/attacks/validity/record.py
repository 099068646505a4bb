"""What was measured of an attack on one network, as counts that a judge can recheck."""

from __future__ import annotations

from pydantic import Field

from spikeproof.document.values import Figure, Record, Text


class Tried(Record):
    """Some images on which something was tried, and on how many it succeeded."""

    images: int = 0
    successes: int = 0


class Examined(Record):
    """Of a network under a suite: lists of bool say, image by image, what is still right."""

    suite: Text = ""
    """Name and version."""
    radii: list[int] = Field(default_factory=list)
    """Grey levels, ascending; all but ``afresh`` is at the largest."""
    samples: int = 0
    why_not: Text = ""
    """Why nothing was measured; empty: it was."""
    clean: list[bool] = Field(default_factory=list)
    left: list[bool] = Field(default_factory=list)
    """Under the suite."""
    first: list[bool] = Field(default_factory=list)
    """Under the suite's first member alone."""
    afresh: list[list[bool]] = Field(default_factory=list)
    """Under that member with a quarter of its steps, at the smallest and at the largest radius,
    each without looking at the other."""
    naive: list[bool] = Field(default_factory=list)
    """Under PGD-7 as papers quote it."""
    estimators: dict[str, list[bool]] = Field(default_factory=dict)
    """Under one short walk, by the estimator of its gradients."""
    late: int = 0
    """Images that fell within the last tenth of a member's steps."""
    masked: int = 0
    """Images of which half of the gradients or more were zero everywhere."""
    zero_share: Figure = 0.0
    """Share of all gradients of the suite that were zero everywhere."""
    unbounded: Tried = Tried()
    """Images under the first member in a ball of 255 grey levels."""
    doubled: Tried = Tried()
    """Survivors under the member that broke most, with twice as many steps."""
    black_box: Tried = Tried()
    """Survivors under an attack without gradients."""
    queries: int = 0
    """Of the attack without gradients, per image."""
    planted: Tried = Tried()
    """Planted examples, and how many the suite found."""
    unplanted: int = 0
    """Images in whose ball no random corner stood out."""
    guessed: Tried = Tried()
    """Random corners tried on the plants, and how many lie in the planted class."""
    unequal: int = 0
    """Images for which an attack gave something else when it was repeated."""
    repeated: int = 0
    """Images that were attacked twice."""
    unstable: int = 0
    """Images, clean or attacked, whose class changed when they were shown again."""
