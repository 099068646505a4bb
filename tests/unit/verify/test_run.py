"""The whole verification: verdicts, identity, resuming after a kill, and the report's form."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verified import verified

from spikeproof.engines.fast import FastEngine
from spikeproof.errors import BundleError, InputError
from spikeproof.io.files import canonical_json
from spikeproof.ir.floats import Linear
from spikeproof.jobs.origin import hash_sources, source_hash
from spikeproof.jobs.runner import Runner
from spikeproof.report.html import render_html
from spikeproof.verify import run, work
from spikeproof.verify.document import load_report, parse_report
from spikeproof.verify.given import fewer_images, images_asked
from spikeproof.verify.perturbations import CHUNK, Crafted


def _verify(case: Any, config: Any, folder: Path, perturb: Any, **options: Any) -> Any:
    return verified(case, config, folder, perturb=perturb, **options)


def _timeless(report: Any) -> str:
    return canonical_json({k: v for k, v in report.items() if k != "timing"})


def _checks(report: Any) -> dict[str, str]:
    return {c["id"]: c["verdict"] for c in report["checks"]}


@pytest.mark.parametrize("kind", ["case", "table_case"])
def test_good_conversion_passes(
    kind: str, request: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    report = _verify(request.getfixturevalue(kind), config, tmp_path, perturb)
    found = _checks(report)
    assert list(found) == ["V1", "V2", "V3", "V4", "V5", "V6", "V7", "V9", "V13", "V15", "V16"]
    assert found.pop("V3") == found.pop("V4") == found.pop("V6") == "info"
    assert set(found.values()) == {"pass"}, report["sentence"]
    assert report["verdict"] == "pass" and "as accurate as" in report["sentence"]
    figures = report["checks"][0]["figures"]
    assert figures["compared"] > 0 and figures["mismatches"] == 0
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_report_has_the_form_the_renderer_reads(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    parsed = parse_report(_verify(case, config, tmp_path, perturb, command="spikeproof verify x"))
    assert render_html(parsed) == render_html(load_report(tmp_path / "report.json"))
    assert parsed.provenance.command == "spikeproof verify x"
    assert parsed.network.layers[0].layer == "l1"
    assert parsed.provenance.data_samples == 320
    finished = datetime.fromisoformat(str(parsed.timing["finished"]))
    assert datetime.now(timezone.utc) - finished < timedelta(hours=1)


def test_unknown_calibration_images_are_inconclusive_and_said(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    report = _verify(case, config, tmp_path, perturb, calibration=None)
    assert report["verdict"] == "inconclusive"
    reasons = next(c for c in report["checks"] if c["id"] == "V2")["reasons"]
    assert all("verify --calibration FILE" in r["try"] for r in reasons)
    (warning,) = [w for w in report["provenance"]["warnings"] if "--calibration" in w]
    assert "are not known" in warning


@pytest.mark.parametrize("kind", ["few", "black", "grey"])
def test_images_that_show_nothing_fail_no_step_of_a_sound_conversion(
    case: Any, config: Any, tmp_path: Path, perturb: Any, kind: str
) -> None:
    """Compensated rounding is judged by images where those of calibration are not known."""
    x = case.x[:5] if kind == "few" else np.full_like(case.x, 0 if kind == "black" else 128)
    shown = replace(case, x=x, y=case.y[: len(x)])
    report = _verify(shown, config, tmp_path, perturb, calibration=None)
    (step,) = [c for c in report["checks"] if c["id"] == "V2"]
    assert step["verdict"] == "inconclusive"
    assert any("fewer than 16 of the images" in r["criterion"] for r in step["reasons"])


def test_reasons_of_the_writer_are_what_the_reader_reads(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    few = replace(case, x=case.x[:10], y=case.y[:10])
    report = _verify(few, config, tmp_path, perturb, calibration=case.x[:32])
    by_id = {c.id: c for c in parse_report(report).checks}
    assert {key for key, check in by_id.items() if check.reasons} == {"V2", "V5", "V7"}
    needed = [r.images_needed for r in by_id["V7"].reasons]
    assert all(n is not None and n > 10 for n in needed)
    old = {
        **report,
        "schema": 1,
        "checks": [{k: v for k, v in c.items() if k != "reasons"} for c in report["checks"]],
    }
    assert parse_report(old).check("V7").reasons == []  # reports of version 0.1 hold none


def test_resumed_run_is_identical(case: Any, config: Any, tmp_path: Path, perturb: Any) -> None:
    first = _verify(case, config, tmp_path, perturb)
    journal = tmp_path / "journal.jsonl"
    header, *records = journal.read_bytes().splitlines(keepends=True)
    assert len(records) >= 7
    (tmp_path / "report.json").unlink()  # the run did not get that far
    journal.write_bytes(header + b"".join(records[::2]))
    again = _verify(case, config, tmp_path, perturb)
    assert _timeless(again) == _timeless(first)
    assert first["timing"]["items_from_earlier_attempt"] == 0
    assert again["timing"]["items_from_earlier_attempt"] == len(records[::2])


def _recorded(folder: Path) -> list[str]:
    lines = (folder / "journal.jsonl").read_text().splitlines()[1:]
    return [json.loads(line)["record"]["name"] for line in lines]


def _chunks_of(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(("images", "responses"))]


@pytest.mark.parametrize("interrupted", [False, True])
def test_calibration_images_given_later_cost_one_piece_of_work(
    case: Any, config: Any, tmp_path: Path, perturb: Any, interrupted: bool
) -> None:
    """What V2 says to try keeps everything that does not depend on the calibration images."""
    late, told = tmp_path / "late", list[str]()
    assert _checks(_verify(case, config, late, perturb, calibration=None))["V2"] != "pass"
    before = _recorded(late)
    if interrupted:
        (late / "report.json").unlink()
    report = _verify(case, config, late, perturb, note=told.append)
    assert _recorded(late)[len(before) :] == ["rounding"], "all else is taken over"
    assert told == [
        f"{len(before) - 1} of {len(before)} pieces of work were taken from an earlier run in "
        f"{late}; all they depend on is unchanged"
    ]
    at_once = _verify(case, config, tmp_path / "now", perturb)
    assert report["checks"] == at_once["checks"]


def test_more_images_of_a_comparison_cost_only_those(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    """``--set samples.KIND=N``, which reasons say to try, crafts what is new and no more."""
    fewer = {"gaussian": 2 * CHUNK + 10, "accuracy": 2 * CHUNK + 10}
    few = config.model_copy(update={"samples": config.samples.model_copy(update=fewer)})
    _verify(case, few, tmp_path, perturb)
    before = _recorded(tmp_path)
    report = _verify(case, config, tmp_path, perturb)
    new = _chunks_of(_recorded(tmp_path)[len(before) :])
    assert {int(n.split()[-1]) for n in new} == {2 * CHUNK, 3 * CHUNK} and len(new) == 4
    assert len(_chunks_of(before)) == 6
    assert report["checks"] == _verify(case, config, tmp_path / "afresh", perturb)["checks"]


@pytest.mark.parametrize("part", ["pixels", "labels", "seed"])
def test_what_depends_on_what_changed_is_not_taken_over(
    case: Any, config: Any, tmp_path: Path, perturb: Any, part: str
) -> None:
    _verify(case, config, tmp_path, perturb)
    images, labels = case.x.copy(), (case.y + 1) % (case.y.max() + 1)
    images[2 * CHUNK :, 0, 0, 0] ^= 1
    settings = config.model_copy(update={"seed": config.seed + (part == "seed")})
    changed = {"pixels": {"x": images}, "labels": {"y": labels}, "seed": {}}[part]
    before = _recorded(tmp_path)
    options = {"calibration": case.x[:32]}
    report = _verify(replace(case, **changed), settings, tmp_path, perturb, **options)
    done = set(_recorded(tmp_path)[len(before) :])
    kept = set(before) - done
    if part == "pixels":
        assert kept == {n for n in _chunks_of(before) if int(n.split()[-1]) < 2 * CHUNK}
    else:
        assert not any(n.startswith("images") for n in kept), "attacks read labels and seed"
    afresh = _verify(replace(case, **changed), settings, tmp_path / "new", perturb, **options)
    assert report["checks"] == afresh["checks"]


def test_a_complete_run_that_is_repeated_unchanged_starts_afresh(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    _verify(case, config, tmp_path, perturb)
    again = _verify(case, config, tmp_path, perturb)
    assert again["timing"]["items_from_earlier_attempt"] == 0


def test_damaged_items_and_images_are_made_again(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    first = _verify(case, config, tmp_path, perturb)
    (tmp_path / "report.json").unlink()
    journal = tmp_path / "journal.jsonl"
    header, *records = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(header + b"".join(r.replace(b"0", b"1", 1) for r in records))
    for path in (tmp_path / "images").glob("*.npy"):
        path.write_bytes(b"torn")
    told: list[str] = []
    again = _verify(case, config, tmp_path, perturb, note=told.append)
    assert _timeless(again) == _timeless(first)
    assert again["timing"]["items_from_earlier_attempt"] == 0
    assert f"{len(records)} damaged" in told[0]


def test_lost_images_are_made_again(case: Any, config: Any, tmp_path: Path, perturb: Any) -> None:
    first = _verify(case, config, tmp_path, perturb)
    (tmp_path / "report.json").unlink()
    lost = sorted((tmp_path / "images").glob("*.npy"))[1]
    content = lost.read_bytes()
    lost.unlink()
    assert _timeless(_verify(case, config, tmp_path, perturb)) == _timeless(first)
    assert lost.read_bytes() == content


def test_the_journal_check_counts_what_is_on_the_disk(
    case: Any, config: Any, tmp_path: Path, perturb: Any, monkeypatch: Any
) -> None:
    """V16 is no formality: a record that is damaged while the run goes on fails it."""
    from spikeproof.verify import run as module

    def measure(*given: Any) -> Any:
        found = module_measure(*given)
        journal = tmp_path / "journal.jsonl"
        header, first, *rest = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([header, first.replace(b"e", b"f", 1), *rest]))
        return found

    module_measure = module.measure
    monkeypatch.setattr(module, "measure", measure)
    report = _verify(case, config, tmp_path, perturb)
    figures = report["checks"][-1]["figures"]
    assert _checks(report)["V16"] == "fail"
    assert figures["recorded"] == figures["items"] - 1


class Recorder(FastEngine):
    """An engine that counts its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def run(self, *args: Any, **options: Any) -> Any:
        self.runs += 1
        return super().run(*args, **options)


def test_items_of_an_unfinished_run_are_not_made_twice(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    _verify(case, config, tmp_path, perturb, engine=Recorder())
    (tmp_path / "report.json").unlink()
    again = Recorder()
    _verify(case, config, tmp_path, None, engine=again)
    assert again.runs == 0


def test_a_complete_run_is_not_taken_over(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    """Something may have broken since that no hash can see."""
    _verify(case, config, tmp_path, perturb, engine=Recorder())
    again = Recorder()
    _verify(case, config, tmp_path, perturb, engine=again)
    assert again.runs > 0


def test_a_run_that_fails_keeps_the_report_of_the_last_one(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    _verify(case, config, tmp_path, perturb)
    report = (tmp_path / "report.json").read_bytes()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no more")

    with pytest.raises(Exception, match="no more"):
        _verify(case, config, tmp_path, broken)
    assert (tmp_path / "previous-report.json").read_bytes() == report
    again = _verify(case, config, tmp_path, perturb)
    assert _timeless(again) == _timeless(json.loads(report))
    assert not (tmp_path / "previous-report.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"sources": "other"},
        {"python": "9.9"},
        {"machine": ["x", "y"]},
        {"packages": {"numpy": "9"}},
        {"targets": {"lava": "other 2.0"}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_other_code_makes_other_items(
    change: Any, case: Any, config: Any, tmp_path: Path, perturb: Any, monkeypatch: Any
) -> None:
    from spikeproof.verify import run as module

    _verify(case, config, tmp_path, perturb, engine=Recorder())
    (tmp_path / "report.json").unlink()
    known = module.code_identity()
    assert set(change) <= set(known)
    monkeypatch.setattr(module, "code_identity", lambda engine: {**known, **change})
    again = Recorder()
    _verify(case, config, tmp_path, perturb, engine=again)
    assert again.runs > 0


def test_source_hash_sees_every_changed_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "inner" / "b.toml").write_text("y = 1")
    seen = {hash_sources({"p": tmp_path})}
    (tmp_path / "inner" / "b.toml").write_text("y = 2")
    seen.add(hash_sources({"p": tmp_path}))
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    seen.add(hash_sources({"p": tmp_path}))
    (tmp_path / "notes.txt").write_text("not code")
    seen.add(hash_sources({"p": tmp_path}))
    assert len(seen) == 3


def test_report_names_the_code_it_was_made_with(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    found = _verify(case, config, tmp_path, perturb)["provenance"]
    assert found["sources"] == source_hash() and found["machine"]


def test_kill_in_the_middle_resumes(case: Any, config: Any, tmp_path: Path, perturb: Any) -> None:
    class Killed(BaseException):
        pass

    done = []

    def kill_after_four(now: int, total: int) -> None:
        done.append((now, total))
        if len(done) == 4:
            raise Killed

    with pytest.raises(Killed):
        _verify(case, config, tmp_path / "run", perturb, progress=kill_after_four)
    assert not (tmp_path / "run" / "report.json").exists()
    resumed = _verify(case, config, tmp_path / "run", perturb)
    whole = _verify(case, config, tmp_path / "other", perturb)
    same = {**whole, "report": resumed["report"]}
    assert _timeless(resumed) == _timeless(same)


def test_other_settings_make_other_items(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    first = _verify(case, config, tmp_path, perturb)
    other = _verify(case, config.model_copy(update={"seed": 5}), tmp_path, perturb)
    assert _timeless(other) != _timeless(first)
    assert other["provenance"]["seeds"] == {"verification": 5}


def test_progress_ends_at_the_total(case: Any, config: Any, tmp_path: Path, perturb: Any) -> None:
    seen: list[tuple[int, int]] = []
    _verify(case, config, tmp_path, perturb, progress=lambda a, b: seen.append((a, b)))
    assert [a for a, _ in seen] == sorted(a for a, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_wrong_chip_network_fails_where_it_should(
    case: Any, config: Any, with_layer: Any, tmp_path: Path, perturb: Any
) -> None:
    """Sign of one layer lost: the engines still agree, the behaviour does not."""
    out = case.bundle.network.layers[-1].synapse
    broken = case.with_network(
        with_layer(case.bundle.network, "out", "synapse", weight=(-out.weight).astype(np.int16))
    )
    found = _checks(_verify(broken, config, tmp_path, perturb))
    assert found["V1"] == "pass"
    assert found["V7"] == "fail" and found["V2"] == "fail"


def test_swapped_layer_fails_the_perturbation_match(
    case: Any, config: Any, with_layer: Any, tmp_path: Path, perturb: Any
) -> None:
    """A threshold twice too high halves the perturbation in units of the threshold."""
    neuron = case.bundle.network.layers[1].neuron
    broken = case.with_network(
        with_layer(case.bundle.network, "l2", "neuron", threshold=2 * neuron.threshold)
    )
    report = _verify(broken, config, tmp_path, perturb)
    assert _checks(report)["V5"] == "fail"
    assert report["verdict"] == "fail" and "V5" in report["sentence"]


def test_overflowing_network_fails_its_certificate(
    case: Any, config: Any, with_layer: Any, tmp_path: Path, perturb: Any
) -> None:
    synapse = case.bundle.network.layers[1].synapse
    heavy = np.full_like(synapse.weight, 254)
    broken = case.with_network(
        with_layer(case.bundle.network, "l2", "synapse", weight=heavy, exponent=7)
    )
    assert _checks(_verify(broken, config, tmp_path, perturb))["V9"] == "fail"


def test_too_few_images_are_inconclusive(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    few = replace(case, x=case.x[:10], y=case.y[:10])
    report = _verify(few, config, tmp_path, perturb, calibration=case.x[:32])
    assert _checks(report)["V7"] == "inconclusive"
    assert report["verdict"] == "inconclusive"
    assert "Not yet shown" in report["sentence"]


def test_repeated_images_show_nothing_new(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    """Twenty images given sixteen times over once passed as 320."""
    tiled = replace(case, x=np.tile(case.x[:20], (16, 1, 1, 1)), y=np.tile(case.y[:20], 16))
    notes: list[str] = []
    found = _verify(
        tiled, config, tmp_path / "t", perturb, warn=notes.extend, calibration=case.x[:32]
    )
    alone = replace(case, x=case.x[:20], y=case.y[:20])
    once = _verify(alone, config, tmp_path / "o", perturb, calibration=case.x[:32])
    assert _checks(found) == _checks(once) and found["verdict"] == "inconclusive"
    told = "300 of the 320 images repeat an earlier one; each was used once, which leaves 20"
    assert notes[0] == told and told in found["provenance"]["warnings"]


def test_fewer_images_than_the_settings_ask_for_are_said_before_the_work(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    few = replace(case, x=case.x[:10], y=case.y[:10])
    notes: list[str] = []
    _verify(few, config, tmp_path, perturb, warn=notes.extend, calibration=case.x[:32])
    (told,) = [line for line in notes if "fewer than" in line]
    assert told.startswith("there are 10 images, fewer than samples.accuracy, ")
    assert told.endswith("ask for: all are used; more come with --data")
    assert "fewer than" not in " ".join(_said(case, config, tmp_path / "enough", perturb))


def _said(case: Any, config: Any, folder: Path, perturb: Any) -> list[str]:
    notes: list[str] = []
    _verify(case, config, folder, perturb, warn=notes.extend)
    return notes


def test_settings_of_attacks_that_are_not_run_ask_for_nothing(config: Any) -> None:
    enough = max(images_asked(config).values())
    assert fewer_images(config, enough, None) is None
    assert not config.perturbations.pgd
    more = config.model_copy(update={"samples": config.samples.model_copy(update={"pgd": 10**6})})
    assert fewer_images(more, enough, None) is None
    told = fewer_images(config, 1, 24)
    assert told is not None and "there is 1 image" in told and "the file holds 24" in told


def test_foreign_checkpoint_is_refused_with_both_hashes(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    foreign = replace(case, source_hash="b" * 64)
    with pytest.raises(InputError, match=r"(?s)aaaa.*bbbb"):
        _verify(foreign, config, tmp_path, perturb)


def test_altered_bundle_is_refused(case: Any, config: Any, tmp_path: Path, perturb: Any) -> None:
    lying = replace(case, bundle=replace(case.bundle, content_hash="c" * 64))
    with pytest.raises(BundleError, match="cccc"):
        _verify(lying, config, tmp_path, perturb)


def test_unusable_data_are_refused(case: Any, config: Any, tmp_path: Path, perturb: Any) -> None:
    for change, message in (
        ({"x": case.x / 255}, "expected uint8"),
        ({"x": case.x[:, :, 1:]}, "images have shape"),
        ({"y": case.y[1:]}, "for 320 images"),
        ({"y": None}, "no labels"),
        ({"y": np.where(np.arange(320) == 7, 77, case.y)}, r"classes 0\.\.2.*77 of image 7"),
        ({"y": case.y - 1}, "none of the 3 classes"),
    ):
        with pytest.raises(InputError, match=message):
            _verify(replace(case, **change), config, tmp_path, perturb)


def test_attack_outside_its_ball_is_refused(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    strengths = config.perturbations.model_copy(update={"gaussian": (), "fgsm": (4,)})
    wanted = config.model_copy(update={"perturbations": strengths})

    def cheat(item: Any, network: Any, x: Any, y: Any, **_: Any) -> Crafted:
        return Crafted(255 - x)

    with pytest.raises(InputError, match="grey levels"):
        _verify(case, wanted, tmp_path, cheat)


def test_source_is_what_the_attacks_see(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    seen = []

    def spy(item: Any, network: Any, *rest: Any, **options: Any) -> Any:
        seen.append(network)
        return perturb(item, network, *rest, **options)

    _verify(case, config, tmp_path, spy)
    assert seen and all(n is case.source for n in seen)
    assert any(isinstance(node, Linear) for node in seen[0].nodes)


@pytest.mark.parametrize("free", [1, None])
def test_images_run_beside_other_work_only_where_memory_allows(
    free: int | None,
    case: Any,
    config: Any,
    tmp_path: Path,
    perturb: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, do = [], Runner.do

    def watched(runner: Any, items: Any, *args: Any, **options: Any) -> Any:
        given.extend(items)
        return do(runner, items, *args, **options)

    monkeypatch.setattr(work, "available_bytes", lambda: free)
    monkeypatch.setattr(Runner, "do", watched)
    _verify(case, config, tmp_path, perturb)
    beside = {item.name.split()[0] for item in given if item.beside}
    assert beside == (set() if free else {"images", "responses"})


def test_time_is_counted_under_the_work_s_whole_name_or_its_first_word() -> None:
    took = {"validity of attacks on the chip network": 2.0, "attacks on chip 50": 1.0}
    found = run._timing(took)
    assert (found["V6"], found["V7"]) == (2.0, 1.0)
