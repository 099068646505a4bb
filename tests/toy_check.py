"""A file with a check in it: all that verify/checks/registry.py needs besides its two lines."""

from __future__ import annotations

from spikeproof.document.shown import Fact, Head, Table, lines
from spikeproof.document.values import Record
from spikeproof.reasons import Reason
from spikeproof.verify.checks.base import CheckKind, Findings, Job, Outcome
from spikeproof.verify.material import Material
from spikeproof.verify.verdict import Verdict


class Brightness(Record):
    """What it measures."""

    mean: float = 0.0


class Figures(Record):
    """What stands beside its sentence."""

    mean: float


def _measure(material: Material) -> Brightness:
    return Brightness(mean=float(material.x.mean()))


PIXELS = Job("pixels", _measure, Brightness, 1)


def _judge(found: Findings) -> Outcome[Brightness]:
    data = found.of(PIXELS)
    reason = Reason(verdict="fail", criterion="mean pixel", value=data.mean, limit=1.0, try_="Dim.")
    return Outcome(Verdict.FAIL, "Too bright.", Figures(mean=data.mean), data, [reason])


TOY = CheckKind(
    id="V99",
    title="Images are dark",
    kind="tested",
    result=Brightness,
    judge=_judge,
    section="brightness",
    figures=Figures,
    jobs=(PIXELS,),
    facts=lambda check, result, silent: [Fact(f"{result.mean:.1f}", "mean", "V99.data.mean")],
    tables=lambda result: {
        "pixels": Table("How bright", (Head("mean"),), lines([(f"{result.mean:.1f}",)]))
    },
)
