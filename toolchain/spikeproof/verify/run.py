"""Verify a bundle against the checkpoint it was made from; the result is the report's JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from spikeproof import __version__
from spikeproof.document.values import Json
from spikeproof.engines.trace import Engine, Progress
from spikeproof.io.files import canonical_json, write_atomic
from spikeproof.io.known import DataRecord, describe, images_hash
from spikeproof.io.record import SourceRecord
from spikeproof.io.wiring import graph_rows
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.origin import code_identity, package_versions, source_hash
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner
from spikeproof.jobs.threads import inner_threads
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.checks.base import Check, Findings
from spikeproof.verify.checks.registry import judge, timed
from spikeproof.verify.checks.threshold import AUDIT, Audit
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.document import (
    REPORT_HTML,
    REPORT_JSON,
    Network,
    Provenance,
    Report,
    load_report,
)
from spikeproof.verify.gates import overall, sentence
from spikeproof.verify.given import (
    Data,
    Subject,
    check_calibration,
    check_data,
    check_identity,
    data_hash,
    distinct,
    fewer_images,
    input_warnings,
    repeat_warnings,
)
from spikeproof.verify.material import Material
from spikeproof.verify.perturbations import (
    Perturb,
    perturb_with_torch,
    perturbations,
    worst_cases,
)
from spikeproof.verify.plausible import (
    Expectation,
    pixel_warnings,
)
from spikeproof.verify.stages import conversion_table, rebuild_stages
from spikeproof.verify.work import measure, time_told, total_cost
from spikeproof.verify.worst_case import obstacle, victims_of

PREVIOUS = "previous-"
RESUMED, FINISHED = "items_from_earlier_attempt", "finished"


@dataclass(frozen=True, eq=False)
class How:
    """How a verification is run; the report does not depend on it, but for its command.

    progress: called with (rough milliseconds done, in all). note: called with a line on what
    became of an earlier journal. warn: called with what is odd about the images. command: the
    command line, for the report. engine: the target, instead of the one the settings name.
    perturb: crafts perturbed images, see :mod:`spikeproof.verify.perturbations`. workers:
    processes on this machine; 1 is this one. cluster: address of a Dask scheduler, instead.
    """

    progress: Progress | None = None
    note: Callable[[str], None] | None = None
    warn: Callable[[list[str]], object] | None = None
    command: str = ""
    engine: Engine | None = None
    perturb: Perturb = perturb_with_torch
    workers: int = 1
    cluster: str | None = None


def verify(
    subject: Subject, data: Data, config: VerifyConfig, run_dir: Path, how: How | None = None
) -> Report:
    """Verify and write ``run_dir/report.json``.

    Work that an earlier run in this folder has done is taken over where everything it depends on
    is the same: after an interruption, and where images, settings or calibration images changed
    that only other work depends on. A complete run that is repeated unchanged starts afresh.

    Args:
        subject: bundle and checkpoint.
        data: images, labels, and what they are.
        config: settings, see :func:`spikeproof.verify.config.load_config`.
        run_dir: folder of this run; made if missing.
        how: target, workers and who is told; default: in this process, silently.

    Returns:
        The report. Apart from ``timing`` it depends on the arguments only, and not on where the
        work was done (on machines of one kind: the last bit of a float sum may depend on it).

    Raises:
        InputError: checkpoint and bundle do not belong together; unusable images or labels.
        BundleError: the bundle is not what its content hash says.
        TargetError, MissingExtraError: the target, a worker or torch fails or is missing.
    """
    how = how or How()
    bundle, source = subject.bundle, subject.source
    hashes = check_identity(bundle, subject.source_hash)
    given, answers = check_data(source, data.x, data.y, data.record.file if data.record else None)
    images, labels = distinct(given, answers)
    odd = [*pixel_warnings(given), *repeat_warnings(len(given), len(images))]
    record = data.record or describe(images, labels)
    limited = record.held if record.held > len(given) else None
    fewer = fewer_images(config, len(images), limited)
    if how.warn and (odd or fewer):
        how.warn([*odd, *filter(None, [fewer])])
    hashes["data_hash"] = data_hash(images, labels)
    fitted = None
    if data.calibration is not None:
        fitted = check_calibration(bundle, data.calibration)
        hashes["calibration_hash"] = images_hash(fitted.shape, [fitted])
    planned = perturbations(config, len(images))
    stages = rebuild_stages(bundle.network, source, bundle.record)
    victims = victims_of(stages)
    worst = worst_cases(config, len(images))
    not_attacked = obstacle(victims, config.worst_case.suite) if worst else ""
    material = Material(
        stages=stages,
        x=images,
        y=labels,
        config=config,
        planned=planned,
        worst=[] if not_attacked else worst,
        victims=victims,
        perturb=how.perturb,
        folder=run_dir,
        engine=how.engine,
        calibration=fitted,
    )
    code = code_identity(how.engine)
    base = {**{key: hashes[key] for key in ("bundle_hash", "checkpoint_hash")}, "code": code}
    classes = int(np.prod(bundle.network.layers[-1].shape))
    expected = Expectation(classes, record, subject.trained)
    material.engines()  # before anything of an earlier run is touched: is the target there?
    with (
        Pool(how.workers, how.cluster, inner_threads=1) as pool,
        _open_journal(run_dir, base, hashes, config) as journal,
    ):
        if how.note:
            for line in [*journal.notes, *filter(None, [time_told(material)])]:
                how.note(line)
        runner = Runner(pool, journal, total_cost(material), how.progress)
        # One thread, as in a worker: the last bit of a sum depends on it. A library that is loaded
        # later would not know.
        library = "torch" if planned and how.perturb is perturb_with_torch else None
        with inner_threads(1, load=library):
            measured = measure(material, runner, hashes)
            found = Findings(
                material=material,
                hashes=hashes,
                audit=journal.audit(runner.used),
                expected=expected,
                repeated=len(given) - len(images),
                not_attacked=not_attacked,
                **vars(measured),
            )
            checks = judge(found)
    if how.note and runner.taken:
        how.note(
            f"{runner.taken:,} of {len(runner.used):,} pieces of work were taken from an earlier "
            f"run in {run_dir}; all they depend on is unchanged"
        )
    told = input_warnings(bundle, record, subject.trained, fitted=fitted is not None)
    told += odd + _result_warnings(checks)
    report = Report(
        verdict=str(overall(checks)),  # type: ignore[arg-type]
        sentence=sentence(checks),
        network=_network(subject, found.of(AUDIT)),
        checks=checks,
        report=str(run_dir / REPORT_HTML),
        provenance=_provenance(subject.origin, hashes, record, config, how.command, told),
        timing={**_timing(runner.seconds), RESUMED: runner.taken, FINISHED: _now()},
    )
    write_atomic(run_dir / REPORT_JSON, canonical_json(report.json_document()))
    for name in (REPORT_HTML, REPORT_JSON):
        (run_dir / f"{PREVIOUS}{name}").unlink(missing_ok=True)
    # As any reader gets it: the page is the one that `spikeproof report` draws, in the same order.
    return load_report(run_dir / REPORT_JSON)


def _open_journal(
    run_dir: Path, base: Json, hashes: dict[str, str], config: VerifyConfig
) -> Journal:
    """Open the journal of a run; empty if the last run is complete and was asked the same."""
    journal = Journal(run_dir, base, restart=True)
    if (run_dir / REPORT_JSON).exists():
        if _is_repeat(run_dir / REPORT_JSON, hashes, config):
            journal.clear()
        # Kept until the new report is there; last the one that tells a run is complete.
        for name in (REPORT_HTML, REPORT_JSON):
            if (run_dir / name).exists():
                (run_dir / name).replace(run_dir / f"{PREVIOUS}{name}")
    return journal


def _is_repeat(path: Path, hashes: dict[str, str], config: VerifyConfig) -> bool:
    """Tell whether a complete report is of these very inputs; also where it cannot be read."""
    try:
        told = json.loads(path.read_bytes())["provenance"]
        before = {key: told.get(key) for key in (*hashes, "calibration_hash", "suite")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return True
    now = {"calibration_hash": None, **hashes, "suite": config.resolved()}
    return bool(before == json.loads(canonical_json(now)))


def _result_warnings(checks: list[Check]) -> list[str]:
    """Return what is odd about the results without changing a verdict."""
    found = [c.data.plausibility for c in checks if isinstance(c.data, Accuracy)]
    return [p.warning for p in found if p is not None and p.warning]


def _provenance(
    origin: SourceRecord | None,
    hashes: dict[str, str],
    data: DataRecord,
    config: VerifyConfig,
    command: str,
    warnings: list[str],
) -> Provenance:
    return Provenance(
        **({} if origin is None else {"source": origin.text()}),
        spikeproof=__version__,
        python=platform.python_version(),
        numpy=np.__version__,
        machine=f"{platform.system()} {platform.machine()}",
        packages=package_versions(),
        sources=source_hash(),
        data_samples=data.samples,
        data=data,
        seeds={"verification": config.seed},
        suite=config.resolved(),
        command=command,
        warnings=warnings,
        **hashes,
    )


def _network(subject: Subject, audit: Audit) -> Network:
    network = subject.bundle.network
    return Network(
        name=network.name,
        input_shape=list(network.input_shape),
        timesteps=network.timesteps,
        layers=conversion_table(subject.bundle.record),
        chip_fit=list(subject.chip_fit),
        connections=graph_rows(subject.bundle.network),
        operations=audit.operations,
        operations_samples=audit.samples,
    )


def _now() -> str:
    """Return date and time as 2026-05-31T12:00:00+00:00."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _timing(seconds: dict[str, float]) -> dict[str, float]:
    """Sum the time of the work behind each check; several may share it, and the first counts it."""
    found = {}
    for check, names in timed().items():
        parts = set(names)
        own = (s for name, s in seconds.items() if {name, name.split()[0]} & parts)
        found[check] = round(sum(own), 3)
    return found
