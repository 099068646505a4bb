"""Settings of a verification: one typed model, shipped suites, user overrides by TOML.

Unknown keys are errors with a suggestion. The resolved settings travel inside the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from spikeproof.attacks.registry import ATTACKS
from spikeproof.attacks.suites import suite_of
from spikeproof.attacks.weak import WEAK
from spikeproof.errors import InputError
from spikeproof.io.options import wrong_settings
from spikeproof.io.toml import parse_toml, read_toml

SUITES = ("quick", "standard", "rigorous")
_REPLACED = {"full": "standard"}
# Strict: "true" is no number, and 300.0 no whole one. Every number has two ends, so that a typing
# error is found by --dry-run and not by a full memory after an hour.
MOST_IMAGES = 10_000_000
Share = Annotated[float, Field(ge=1e-6, lt=1, strict=True)]
Count = Annotated[int, Field(ge=1, le=MOST_IMAGES, strict=True)]
Grey = Annotated[float, Field(ge=0.001, le=255, strict=True)]
Levels = Annotated[int, Field(ge=1, le=255, strict=True)]
Bound = Annotated[float, Field(ge=1e-3, le=1e3, strict=True)]
AttackKinds = tuple[tuple[str, bool], ...]
"""Kinds of attacks, each with whether it is bounded."""
FEWEST_IN_TAIL = 10
"""Bootstrap resamples beyond each end of an interval: fewer make its ends a matter of luck."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Samples(_Section):
    """How many images each part uses (at most as many as the data hold).

    :func:`config_model` adds a setting for each strength of every registered attack.
    """

    accuracy: Count
    """Clean accuracy."""
    stages: Count
    """V2, V3 and V4."""
    boundary: Count
    """V13."""
    worst_case: Count
    """V7, both networks under the suite of attacks."""


class Perturbations(_Section):
    """Strengths in grey levels (1/255), one setting for every registered attack.

    FGSM and PGD are the same in all suites, :data:`spikeproof.attacks.weak.WEAK`, and in none of
    those shipped: what they leave says little. See :class:`WorstCase`.
    """


class WorstCase(_Section):
    """What V7 attacks both networks with, each itself; ``samples.worst_case`` says how many images.

    Each is then shown the other's examples as well.
    """

    suite: str
    """A suite of attacks by name and version, see :mod:`spikeproof.attacks.suites`."""
    epsilons: tuple[Levels, ...]
    """Radii in grey levels (1/255); none switches the attacks off."""

    @field_validator("suite")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            return suite_of(name).name
        except InputError as error:
            raise ValueError(f"{error.what}; {error.hint}") from error

    @field_validator("epsilons")
    @classmethod
    def _ascending(cls, radii: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(radii)) < len(radii):
            raise ValueError(f"names a radius twice: {list(radii)}")
        return tuple(sorted(radii))


class Margins(_Section):
    """Equivalence margins of V7: largest accepted difference of accuracy, as a share.

    :func:`config_model` adds a setting for every registered attack.
    """

    clean: Share
    worst_case: Share


class MppdLimits(_Section):
    """Limits of V5, per layer and perturbation."""

    median_difference: Share
    """Half of the samples differ relatively by at most this in the norm of the perturbation."""
    p99_difference: Share
    """99 % of the samples differ relatively by at most this."""
    spearman: Annotated[float, Field(gt=-1, lt=1, strict=True)]
    """Rank correlation of the size of the perturbation over the samples, at least this."""
    ratio: tuple[Bound, Bound]
    """Range of the ratio chip/float of the summed energy."""
    resamples: Annotated[int, Field(ge=200, le=100_000, strict=True)]
    """Bootstrap resamples behind the intervals of ratio and rank correlation."""

    @model_validator(mode="after")
    def _ordered(self) -> MppdLimits:
        if not 0 < self.ratio[0] < 1 < self.ratio[1]:
            raise ValueError(f"ratio {self.ratio} must be a range around 1")
        return self


class StageLimits(_Section):
    """Limits of V2."""

    exact_tolerance: Annotated[float, Field(ge=1e-15, le=1e-3, strict=True)]
    """Largest relative difference of membranes that counts as float64 rounding."""
    excused: Share
    """Largest share of samples whose spikes may differ by such rounding."""


class ValiditySettings(_Section):
    """How V6 looks into the attacks themselves."""

    samples: Annotated[int, Field(ge=0, le=MOST_IMAGES, strict=True)]
    """Images of each network; 0: not at all. They take seconds each, on one core."""


class VerifyConfig(_Section):
    """Everything that decides a verdict; what is used comes from :func:`config_model`."""

    attacks: ClassVar[AttackKinds] = ()
    """The attacks that samples, perturbations and margins have settings for."""
    suite: str
    """Name of the suite."""
    version: Count
    """Version of the suite."""
    engine: str
    """The target compared with the reference in V1."""
    lava_samples: Count
    """Samples run on that target; 20 or more unless the data hold fewer."""
    seed: Annotated[int, Field(ge=0, lt=1 << 32, strict=True)]
    """Seed of all noise, random starts and resampling."""
    alpha: Annotated[float, Field(ge=1e-4, lt=0.5, strict=True)]
    """Error rate of each statistical test."""
    samples: Samples
    perturbations: Perturbations
    worst_case: WorstCase
    margins: Margins
    mppd: MppdLimits
    stages: StageLimits
    validity: ValiditySettings

    @model_validator(mode="after")
    def _complete(self) -> VerifyConfig:
        if self.alpha * self.mppd.resamples < FEWEST_IN_TAIL * (1 - 1e-9):
            needed = math.ceil(FEWEST_IN_TAIL / self.alpha)
            raise ValueError(
                f"alpha {self.alpha:g} needs mppd.resamples of at least {needed:,} "
                f"(found {self.mppd.resamples:,}): give more, or a larger alpha"
            )
        for kind, strengths in self.perturbations:
            if len({round(s, 3) for s in strengths}) < len(strengths):
                raise ValueError(f"perturbations.{kind} names a strength twice: {list(strengths)}")
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as values: the model itself is made at run time."""
        return _restored, (self.attacks, self.model_dump())

    def resolved(self) -> dict[str, Any]:
        """Return all settings as plain JSON, with the attack that all suites share."""
        described = {"attack": WEAK.describe(), "title": self.title}
        return {**self.model_dump(mode="json"), **described}

    def changes(self) -> list[str]:
        """Return every setting that is not the shipped suite's: ``samples.pgd=1000``."""
        if self.suite not in SUITES:
            return []
        shipped = (
            type(self).model_validate(_shipped(self.suite, self.attacks)).model_dump(mode="json")
        )
        return _differences(self.model_dump(mode="json"), shipped)

    @property
    def title(self) -> str:
        """Name the suite and what was changed in it: ``quick, changed: samples.pgd=1000``."""
        changes = self.changes()
        return f"{self.suite}, changed: {', '.join(changes)}" if changes else self.suite


def config_model() -> type[VerifyConfig]:
    """Return the settings' model, with a setting in each part for every registered attack."""
    return _model(tuple((kind, attack.bounded) for kind, attack in ATTACKS.all().items()))


@cache
def _model(attacks: AttackKinds) -> type[VerifyConfig]:
    # A bounded attack moves 8-bit images by whole levels: a fraction of one would not be used.
    forms: Any = {True: tuple[Levels, ...], False: tuple[Grey, ...]}
    strengths: Any = {kind: (forms[bounded], ...) for kind, bounded in attacks}
    samples: Any = {kind: (Count, ...) for kind, _ in attacks}
    margins: Any = {kind: (Share, ...) for kind, _ in attacks}
    model: type[VerifyConfig] = create_model(
        "VerifyConfig",
        __base__=VerifyConfig,
        samples=(create_model("Samples", __base__=Samples, **samples), ...),
        perturbations=(create_model("Perturbations", __base__=Perturbations, **strengths), ...),
        margins=(create_model("Margins", __base__=Margins, **margins), ...),
    )
    model.attacks = attacks
    return model


def _restored(attacks: AttackKinds, values: dict[str, Any]) -> VerifyConfig:
    return _model(attacks).model_validate(values)


def _differences(found: dict[str, Any], shipped: dict[str, Any], prefix: str = "") -> list[str]:
    changes = []
    for key, value in found.items():
        if isinstance(value, dict):
            changes += _differences(value, shipped[key], f"{prefix}{key}.")
        elif value != shipped[key]:
            changes.append(f"{prefix}{key}={value}")
    return changes


def _shipped(suite: str, attacks: AttackKinds) -> dict[str, Any]:
    """Read a suite; an attack it does not name is not run, and is sized as PGD when asked for."""
    found = read_toml(Path(str(files("spikeproof.verify").joinpath("suites", f"{suite}.toml"))))
    for kind, _ in attacks:
        found["perturbations"].setdefault(kind, [])
        for part in ("samples", "margins"):
            found[part].setdefault(kind, found[part]["pgd"])
    return found


def load_config(
    suite: str = "quick",
    overrides: Path | str | None = None,
    changes: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    **options: Any,
) -> VerifyConfig:
    """Read a shipped suite and lay over it a user's TOML file, then options, changes and values.

    ``changes`` are lines ``part.setting=value`` as in a TOML file: ``samples.pgd=1000``. ``values``
    are the same as Python has them: ``{"samples.pgd": 1000}``.

    Raises:
        InputError: no such suite, a file that is not TOML, unknown or wrong settings (all listed).
    """
    if suite not in SUITES:
        now = f"It is now called {_REPLACED[suite]!r}. " if suite in _REPLACED else ""
        raise InputError(
            f"no suite {suite!r}", where="--suite", hint=f"{now}Suites: {', '.join(SUITES)}."
        )
    model = config_model()
    settings, where = _shipped(suite, model.attacks), f"suite {suite}"
    if overrides is not None:
        settings, where = (
            _merge(settings, _own(read_toml(overrides), str(overrides))),
            str(overrides),
        )
    settings = _merge(settings, {k: v for k, v in options.items() if v is not None})
    _refuse_repeats(changes)
    for change in changes:
        own = _own(_parse_change(change), "--set")
        settings, where = _merge(settings, own), f"{where}, --set {change}"
    for key, value in (values or {}).items():
        settings = _merge(settings, _own(_nested(key.split("."), value), "settings"))
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise wrong_settings(model, error, where) from error


def _own(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a user's settings.

    Raises:
        InputError: they name suite or version, under which others would take the result for theirs.
    """
    named = [key for key in ("suite", "version") if key in settings]
    if named:
        raise InputError(
            f"{' and '.join(named)} cannot be changed: a suite is what ships under its name",
            where=where,
            hint=f"Choose a suite with --suite ({', '.join(SUITES)}).",
        )
    return settings


def _refuse_repeats(changes: Sequence[str]) -> None:
    """Raise for a setting that is named twice: which of the two is meant cannot be told."""
    seen: dict[str, str] = {}
    for change in changes:
        key = ".".join(part.strip() for part in change.partition("=")[0].split("."))
        if key in seen:
            raise InputError(
                f"{key} is given twice: {seen[key]} and {change}",
                where="--set",
                hint=f"Name every setting once: --set {change}",
            )
        seen[key] = change


def _parse_change(change: str) -> dict[str, Any]:
    """Read one ``part.setting=value``; a value that is no TOML is text: ``engine=fast``."""
    key, equals, value = change.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not change.isprintable():
        raise InputError(
            f"found {change!r}, expected one line without control characters",
            where="--set",
            hint="Repeat --set for several settings.",
        )
    if not equals or not all(parts):
        raise InputError(
            f"found {change!r}, expected SETTING=VALUE",
            where="--set",
            hint="For example --set samples.pgd=1000; `verify --dry-run` lists all settings.",
        )
    try:
        nested: Any = parse_toml(f"value = {value.strip()}", "--set")["value"]
    except InputError:
        nested = value.strip()
    return _nested(parts, nested)


def _nested(parts: list[str], value: Any) -> dict[str, Any]:
    head, *rest = parts
    return {head: _nested(rest, value) if rest else value}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
