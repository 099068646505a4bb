"""Why a check did not pass: one typed reason, written by ``verify`` and read by every report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from spikeproof.text import clean_text, counted

Verdict = Literal["fail", "inconclusive"]
Relation = Literal["at most", "at least", "less than", "more than", "exactly", "within"]
HELP_PAGE = "My verification failed"
"""Title of the page of the documentation that explains every check's usual causes."""

ALTERNATIVE = " Or: "
"""Between a request for images and other advice in one sentence."""

_VALUE_DIGITS, _LIMIT_DIGITS, _MOST_DIGITS = 3, 4, 6


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Text = Annotated[str, AfterValidator(clean_text)]
Number = Annotated[int | float | None, BeforeValidator(_finite)]


class Request(BaseModel):
    """How many images a comparison asks for, and how many there are.

    part: the suite's name of the comparison, ``gaussian``. needed: images that decide it. given:
    different images used at most, after ``--limit``. held: images in the file. asked: how many
    the suite uses of them for this part. repeated: images left out, as they repeat an earlier one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: Text
    needed: int
    given: int
    held: int
    asked: int
    repeated: int = 0


def request_text(requests: Sequence[Request]) -> str:
    """Ask for the images of all comparisons of one run at once, naming only options that help.

    Of two requests for one option only the larger is named.
    """
    most = max(r.needed for r in requests)
    given, held = requests[0].given, requests[0].held
    beyond = most > given  # then the suite's own number is used as far as it goes
    wider: dict[str, int] = {}
    for r in requests:
        if r.needed > r.asked or not beyond:
            wider[r.part] = max(r.needed, wider.get(r.part, 0))
    options = " ".join(f"--set samples.{part}={count}" for part, count in wider.items())
    if not beyond:
        return f"Use more of the {counted(given, 'image')} at hand: verify {options}."
    repeated = requests[0].repeated
    there = f"there {'was' if given == 1 else 'were'} {given:,}"
    if most <= held and not repeated:
        return (
            f"Use at least {most:,} of the {held:,} images in the file: verify --limit {most}"
            f"{f' {options}' if options else ''} ({there} because of --limit)."
        )
    if repeated:
        one, others = ("one", "it") if given == 1 else ("ones", "one of them")
        repeat = "repeats" if repeated == 1 else "repeat"
        there += f" different {one}, and {repeated:,} that {repeat} {others}"
    elif given < held:
        there += f" of {held:,} because of --limit"
    kind = "different images" if repeated else "images"
    return f"Give at least {most:,} {kind} (verify --data; {there})" + (
        f" and use them: verify {options}." if options else "."
    )


class Reason(BaseModel):
    """One criterion that was not met (``fail``) or not decided (``inconclusive``).

    ``value``, ``limit`` and ``interval`` are in ``unit``: a share in per cent is 49.0, not 0.49.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    verdict: Verdict
    criterion: Text
    """What was measured, as a noun: "99th percentile of the relative difference"."""
    value: Number = None
    relation: Relation = "at most"
    """How the value must lie to the limit."""
    limit: Number | tuple[float, float] = None
    """A bound, or for ``within`` the two ends of a range."""
    unit: Text = ""
    decimals: int | None = Field(default=None, ge=0, le=9)
    """Decimals of figures of a kind that is written alike everywhere; None: as many as tell."""
    interval: tuple[Number, Number] | None = None
    """What the images show with confidence: lower and upper bound, None where there is none."""
    layer: Text | None = None
    perturbation: Text | None = None
    stage: Text | None = None
    neuron: tuple[int, ...] | None = None
    images: int | None = None
    """Images used."""
    images_needed: int | None = None
    """Images that would decide it if they were like those used; None: more do not help."""
    would: Literal["pass", "fail"] | None = None
    """What that many images would end in."""
    try_: Text = Field(validation_alias="try", serialization_alias="try", default="")
    """The option or step to try, as a sentence."""
    request: Request | None = None
    """The images that ``try`` asks for; requests of one check are made together."""

    @property
    def where(self) -> str:
        """Name stage, layer, neuron and perturbation: ``l2, gaussian 4/255``."""
        neuron = None if self.neuron is None else f"neuron {list(self.neuron)}"
        return ", ".join(x for x in (self.stage, self.layer, neuron, self.perturbation) if x)

    @property
    def measured(self) -> str:
        """Return the value with its unit, with enough digits to tell it from the limit."""
        return "" if self.value is None else self._amount(self.value)

    @property
    def allowed(self) -> str:
        """Return the limit with its direction: ``at most 10 %``."""
        limits = self.limits()
        measured = () if self.value is None else (self.value,)
        ends = [self._figure(x, measured, _LIMIT_DIGITS) for x in limits]
        told = f"between {ends[0]} and {ends[-1]}" if len(ends) > 1 else ""
        return self._with_unit(told or f"{self.relation} {ends[0]}") if limits else ""

    @property
    def shown(self) -> str:
        """Say what the images establish: ``at most 14 %``."""
        low, high = self.interval or (None, None)
        if low is not None and high is not None:
            ends = f"{self._figure(low, self.limits())} to {self._figure(high, self.limits())}"
            return self._with_unit(ends)
        if high is not None:
            return f"at most {self._amount(high)}"
        return f"at least {self._amount(low)}" if low is not None else ""

    @property
    def evidence(self) -> str:
        """Say how many images were used and, where more would decide it, how many."""
        if self.images is None:
            return ""
        used = f"{counted(self.images, 'image')} used"
        if self.images_needed is None:
            return used
        outlook = {
            "pass": " to show a pass if the rest are like them",
            "fail": " to show a failure if the rest are like them",
            None: "",
        }[self.would]
        return f"{used}, about {self.images_needed:,} needed{outlook}"

    @property
    def brief(self) -> str:
        """Say where, what, value and limit: enough for a headline.

        Of what is undecided it says what the images show and how many they are. The value is left
        out where it meets its limit: read alone, it would look like a pass.
        """
        limit = f"limit: {self.allowed}" if self.allowed else ""
        if self.verdict == "fail":
            return self._start() + (f" ({limit})" if limit else "")
        shown = f"shown so far: {self.shown}" if self.shown else ""
        rest = "; ".join(x for x in (shown, limit, self.evidence) if x)
        start = self._start(with_value=not self.meets_limit)
        return start + (f" ({rest})" if rest else "")

    @property
    def meets_limit(self) -> bool:
        """Tell whether the value itself is within its limit, shown or not."""
        return self.value is not None and bool(self.limits()) and _excess(self) <= 0

    @property
    def sentence(self) -> str:
        """Say all of it but the advice in one line."""
        limit = f"limit: {self.allowed}" if self.allowed else ""
        shown = f"shown so far: {self.shown}" if self.shown else ""
        rest = "; ".join(x for x in (limit, shown, self.evidence) if x)
        return self._start() + (f" ({rest})" if rest else "")

    @property
    def decided_by(self) -> float:
        """Return how many images lead to a pass; infinite where no number of them does."""
        never = self.images_needed is None or self.would == "fail"
        return math.inf if never else float(self.images_needed or 0)

    def _start(self, *, with_value: bool = True) -> str:
        where = f"{self.where}: " if self.where else ""
        value = f" {self.measured}" if with_value and self.measured else ""
        return f"{where}{self.criterion}{value}"

    def limits(self) -> tuple[float, ...]:
        """Return the limit as a tuple: of none, of one, or of the two ends of a range."""
        if isinstance(self.limit, tuple):
            return self.limit
        return () if self.limit is None else (self.limit,)

    def _amount(self, value: float) -> str:
        return self._with_unit(self._figure(value, self.limits()))

    def _figure(self, value: float, others: Sequence[float], fewest: int = _VALUE_DIGITS) -> str:
        if self.decimals is None:
            return _distinct(value, others, fewest)
        return _signed(f"{value:,.{self.decimals}f}")

    def _with_unit(self, text: str) -> str:
        return f"{text} {self.unit}" if self.unit else text


def worst_first(reasons: list[Reason]) -> list[Reason]:
    """Sort failures by how far they miss their limit, then what is undecided.

    Of that, what takes the most images to decide stands first, and before it what no number of
    images turns into a pass.
    """

    def key(reason: Reason) -> tuple[bool, float, float]:
        undecided = reason.verdict != "fail"
        return undecided, -reason.decided_by if undecided else 0.0, -_excess(reason)

    return sorted(reasons, key=key)


def _excess(reason: Reason) -> float:
    """Return how far the value is beyond its limit, relative to the limit."""
    if reason.value is None or reason.limit is None:
        return 0.0
    low, high = min(reason.limits()), max(reason.limits())
    below, above = (low - reason.value) / (abs(low) or 1), (reason.value - high) / (abs(high) or 1)
    over = {"at most": above, "less than": above, "at least": below, "more than": below}
    return over.get(reason.relation, max(below, above))


def _distinct(value: float, others: Sequence[float], fewest: int = _VALUE_DIGITS) -> str:
    """Format with three digits, or as many more as tell the value from the others."""
    for digits in range(fewest, _MOST_DIGITS):
        text = rounded(value, digits)
        if value in others or text not in [rounded(x, digits) for x in others]:
            return text
    return rounded(value, _MOST_DIGITS)


def rounded(value: float, digits: int = _VALUE_DIGITS) -> str:
    """Format with so many significant digits, without trailing zeros."""
    if float(value).is_integer() and abs(value) < 1e15:
        return _signed(f"{int(value):,}")
    if not 1e-4 <= abs(value) < 1e6:
        return _signed(f"{value:.{digits - 1}e}")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text)


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
