"""What a check is: its work, its typed result, how it judges and what the report shows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field, InstanceOf, SerializeAsAny, field_serializer

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Table
from spikeproof.document.values import Anything, Json, Record, Text, dump
from spikeproof.jobs.journal import Audit
from spikeproof.reasons import Reason, worst_first
from spikeproof.verify.advice import Supply, conversion_advice
from spikeproof.verify.material import Material
from spikeproof.verify.plausible import Expectation, useless_images
from spikeproof.verify.responses import Responses
from spikeproof.verify.verdict import Verdict, combine
from spikeproof.verify.worst_case import Attacked

_MAX_FIGURES = 3
ResultT = TypeVar("ResultT", bound=Record)
FiguresT = TypeVar("FiguresT", bound=Record)
MeasuredT = TypeVar("MeasuredT", bound=Record)


class Check(Record):
    """One check: its verdict, one sentence, flat figures, what it measured, why it did not pass.

    ``figures`` and ``data`` are the typed records of the check of this id, or plain JSON of a check
    not known here. Reports of version 0.1 have no ``reasons``.
    """

    id: Text
    title: Text
    kind: Literal["proved", "tested", "measured"]
    verdict: Verdict
    summary: Text = ""
    figures: SerializeAsAny[InstanceOf[Record]] | dict[str, Anything] = Field(default_factory=dict)
    data: SerializeAsAny[InstanceOf[Record]] | dict[str, Anything] = Field(default_factory=dict)
    reasons: list[Reason] = Field(default_factory=list)

    @field_serializer("reasons")
    def _tell(self, reasons: list[Reason]) -> list[Json]:
        return [r.model_dump(mode="json", by_alias=True, exclude_none=True) for r in reasons]

    def figures_of(self, kind: type[FiguresT]) -> FiguresT:
        """Return the figures of a check whose figures are of this type."""
        assert isinstance(self.figures, kind)
        return self.figures

    @property
    def listed(self) -> Json:
        """The figures by name, in the order of the file: the alphabet's."""
        found = self.figures
        return dict(sorted((dump(found) if isinstance(found, Record) else found).items()))


class Nothing(Record):
    """No figures, or no data: the others say all."""


@dataclass(frozen=True)
class Job(Generic[MeasuredT]):
    """A piece of work whose result is kept in the journal; several checks may use it.

    cost: rough milliseconds with one thread, for these networks and images or for all, so that
    progress runs evenly and the time is told beforehand. calibrated: whether the result depends on
    the calibration images; one that does not is kept when they are given later.
    """

    name: str
    measure: Callable[[Material], MeasuredT]
    result: type[MeasuredT]
    cost: int | Callable[[Material], float]
    calibrated: bool = False

    def milliseconds(self, material: Material) -> int:
        """Return the cost for these networks and images."""
        return round(self.cost(material) if callable(self.cost) else self.cost)


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that was measured, and what else the checks judge it by.

    items: the results of all jobs. responses: predictions and perturbation energies by name of
    the perturbation. estimators: by name of the perturbation and of the estimator, which of the
    images they are compared on the trained network gets right. attacked: what either network
    withstood of a suite of attacks. expected: what is known of data and training. not_attacked: why
    that suite cannot be run.
    """

    material: Material
    items: Mapping[str, Record]
    responses: Responses
    estimators: Json
    attacked: Attacked
    examples: list[Any]
    hashes: dict[str, str]
    audit: Audit
    expected: Expectation
    repeated: int = 0
    not_attacked: str = ""

    def of(self, job: Job[MeasuredT]) -> MeasuredT:
        """Return what a job measured."""
        found = self.items[job.name]
        assert isinstance(found, job.result)
        return found

    @property
    def supply(self) -> Supply:
        """How many images there are, and how many each part uses."""
        used = len(self.material.x)
        held = max(used, self.expected.data.held)
        asked = self.material.config.samples.model_dump()
        stages = self.material.stages
        made = stages.options
        fitted = stages.calibration.data
        return Supply(
            used,
            held,
            asked,
            self.repeated,
            conversion_advice(
                stages.claims.values(),
                made.calibration_samples,
                made.weight_bits,
                None if fitted is None else fitted.held,
            ),
            useless_images(self.material.x, self.repeated),
        )


@dataclass(frozen=True)
class Outcome(Generic[ResultT]):
    """What a check found: verdict, one sentence, its figures, the result, why not a pass."""

    verdict: Verdict
    summary: str
    figures: Record
    data: ResultT
    reasons: Sequence[Reason] = ()


def no_facts(check: Check, result: Any, silent: set[str]) -> list[Fact]:
    """Show the check's first figures."""
    return []


def no_headline(check: Check, result: Any) -> Fact | None:
    """Give no number to the first screen."""
    return None


def no_clause(check: Check, result: Any) -> str:
    """Say nothing in the sentence."""
    return ""


def no_tables(result: Any) -> dict[str, Table]:
    """Show no table."""
    return {}


@dataclass(frozen=True)
class CheckKind(Generic[ResultT]):
    """A check: the one place where everything about it is said.

    id, title, kind: as the report prints them. result: the type of its data. figures: that of its
    figures, printed by their fields' names (in alphabetical order, as in the file). judge:
    verdict and words from what was measured. section: of the page, where its reasons and tables
    stand; an id of the page's own sections or a new one. jobs: the work it uses. shares: names of
    work besides that its time is counted under. facts: the counts behind it, given the check, its
    result and the layers that fire no spikes. headline: its number on the first screen; lead: which
    from the left. clause: what it adds to the sentence of a verification that passed, without a
    capital or a full stop. tables: by name.
    """

    id: str
    title: str
    kind: Literal["proved", "tested", "measured"]
    result: type[ResultT]
    judge: Callable[[Findings], Outcome[ResultT]]
    section: str
    figures: type[Record] = Nothing
    jobs: tuple[Job[Any], ...] = ()
    shares: tuple[str, ...] = ()
    facts: Callable[[Check, ResultT, set[str]], list[Fact]] = no_facts
    headline: Callable[[Check, ResultT], Fact | None] = no_headline
    lead: int = 9
    clause: Callable[[Check, ResultT], str] = no_clause
    tables: Callable[[ResultT], dict[str, Table]] = no_tables

    def check(self, found: Outcome[ResultT]) -> Check:
        """Write the check in the form of the report.

        Raises:
            ValueError: the reasons do not give the verdict: none of a check that did not pass, or
                some that say otherwise; or data or figures of another type than the check declares.
                That is a defect of the check.
        """
        for given, kind in ((found.data, self.result), (found.figures, self.figures)):
            if not isinstance(given, kind):
                raise ValueError(
                    f"check {self.id} gives {type(given).__name__}, but declares {kind.__name__}"
                )
        told = worst_first(list(found.reasons))
        said = str(combine(r.verdict for r in told)) if told else "none"
        verdict = str(found.verdict)
        if said != {"pass": "none", "info": "none"}.get(verdict, verdict):
            raise ValueError(f"check {self.id} is {verdict}, but its reasons say {said}")
        return Check(
            id=self.id,
            title=self.title,
            kind=self.kind,
            verdict=found.verdict,
            summary=found.summary,
            figures=found.figures,
            data=found.data,
            reasons=told,
        )


def plain_figures(check: Check) -> list[Fact]:
    """Show the first numbers among the figures of a check."""
    numeric = [(k, v) for k, v in check.listed.items() if n.finite(v) is not None]
    return [
        Fact(n.anything(v), k.replace("_", " "), f"{check.id}.figures.{k}")
        for k, v in numeric[:_MAX_FIGURES]
    ]


def percent(share: float, digits: int = 2) -> str:
    """Write a share in per cent, in a sentence."""
    return f"{100 * share:.{digits}f} %"
