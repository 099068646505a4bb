"""The page is one safe, complete, repeatable file, and its numbers are those of the JSON."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from spikeproof.document import numbers as n
from spikeproof.errors import InputError
from spikeproof.reasons import rounded
from spikeproof.report.card import render_card
from spikeproof.report.html import render_html, write_html
from spikeproof.verify.document import parse_report

Make = Callable[..., dict[str, Any]]
VOID = {"meta", "br", "hr", "img", "input", "link", "circle", "rect", "path", "line"}


class Page(HTMLParser):
    """Collect tags, attributes and sourced numbers; complain about unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.sourced: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._source = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"] or "")
        self._source = found.get("data-from") or ""
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._source:
            self.sourced.append((self._source, data))
            self._source = ""
        if not self.stack or self.stack[-1] != "style":
            self.words.append(data)


def resolve(raw: dict[str, Any], source: str) -> float:
    """Look a source up in the JSON, independently of the code that wrote it."""
    mode, _, path = source.rpartition(" ")
    path, _, wanted = path.partition("=")
    nodes: list[Any] = [{c["id"]: c for c in raw["checks"]}]
    for key in path.split("."):
        if key == "*":
            nodes = [inner for node in nodes for inner in node]
        else:
            nodes = [node[int(key)] if isinstance(node, list) else node[key] for node in nodes]
    if mode == "len":
        return len(nodes[0])
    if mode == "sum":
        return sum(nodes)
    if mode == "count":
        return sum(str(node) == wanted for node in nodes)
    assert mode == ""
    assert len(nodes) == 1
    return float(nodes[0])


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_verdict_and_sentence_lead_the_page(make_report: Make, verdict: str) -> None:
    raw = make_report(verdict)
    text = render_html(raw)
    words = [w.strip() for w in Page(text).words if w.strip()]
    assert f'class="banner v-{verdict}"' in text
    assert words.index(verdict.capitalize()) < 20
    tied = re.sub(r"(\d) %", "\\1\N{NO-BREAK SPACE}%", raw["sentence"])
    assert tied in "".join(Page(text).words)[:3_000], "names are elements"
    assert tied != raw["sentence"] or verdict == "pass", "a number and its % stay on one line"


def test_page_is_wellformed(make_report: Make) -> None:
    page = Page(render_html(make_report()))
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))
    anchors = [v[1:] for t, k, v in page.attributes if t == "a" and k == "href"]
    assert set(anchors) <= set(page.ids)


def test_page_needs_nothing_else(make_report: Make) -> None:
    text = render_html(make_report())
    page = Page(text)
    plain = re.sub(r"data:image/png;base64,[\w+/=]*", "", text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", plain)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert {k for _, k, _ in page.attributes}.isdisjoint({"srcset", "onload", "onclick"})
    sources = [v for _, k, v in page.attributes if k == "src"]
    assert all(v.startswith("data:image/png;base64,") for v in sources)
    assert "default-src 'none'" in text and "img-src data:" in text
    assert len(text.encode()) < 2_000_000


def test_hostile_names_stay_text(make_report: Make) -> None:
    evil = "<script>alert(1)</script>\"'><svg onload=x>\u202e\x00\ud800"
    raw = make_report()
    closed = {"id", "kind", "verdict", "tost", "relation", "criteria", "would", "labels", "sha256"}

    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: v if k in closed else poison(v) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(v) for v in value]
        return evil + value if isinstance(value, str) else value

    raw = poison(raw)
    raw["verdict"] = "pass"
    text = render_html(raw)
    page = Page(text)
    assert "script" not in page.tags
    assert not [k for _, k, _ in page.attributes if k.startswith("on")]
    assert not re.search("[\u202e\x00\ud800]", text)
    assert "&lt;script&gt;alert(1)" in text
    text.encode()


def test_commands_in_advice_are_code_on_page_and_card(make_report: Make) -> None:
    report = make_report("inconclusive")
    check = next(c for c in report["checks"] if c["id"] == "V5")
    check["verdict"] = "inconclusive"
    reason = {"verdict": "inconclusive", "criterion": "c", "value": 1.0, "limit": 2.0, "unit": "%"}
    told = "Run `spikeproof doctor --install x_y`, or <b>less</b>; one ` alone stays."
    check["reasons"] = [{**reason, "try": told}]
    page = render_html(report)
    advice = re.search(r'<p class="try">.*?</p>', page)
    assert advice is not None
    option = '<span class="whole">--install</span>'
    assert f"<code>spikeproof doctor {option} x_y</code>, or &lt;b&gt;less" in advice[0]
    assert "one ` alone" in advice[0]
    check["reasons"][0]["try"] = "Run `spikeproof doctor --install x_y`, or <b>less</b>."
    assert r"Try: Run `spikeproof doctor --install x_y`, or \<b\>less" in render_card(report)


def test_top_numbers_come_from_the_json(make_report: Make) -> None:
    for verdict in ("pass", "fail", "inconclusive"):
        raw = make_report(verdict)
        sourced = Page(render_html(raw)).sourced
        assert len(sourced) >= 18
        for source, shown in sourced:
            value = resolve(raw, source)
            readings = {n.anything(value), n.integer(value), n.points(value), n.rate(value)}
            readings |= {n.percent(value, 2), n.fixed(value, 1), rounded(value)}
            assert shown in readings, source


def test_key_figures_are_the_worst_ones(make_report: Make) -> None:
    raw = make_report()
    rows = next(c for c in raw["checks"] if c["id"] == "V7")["data"]["rows"]
    rows[3]["difference"] = -0.0213
    shown = dict(Page(render_html(raw)).sourced)
    assert shown["V7.data.rows.3.difference"] == "\N{MINUS SIGN}2.13"
    assert shown["count V9.data.layers.*.ok=True"] == "3"
    assert shown["V1.figures.mismatches"] == "0"


def test_tables_hold_the_measured_values(make_report: Make) -> None:
    raw = make_report()
    text = " ".join(Page(render_html(raw)).words)
    for row in next(c for c in raw["checks"] if c["id"] == "V7")["data"]["rows"]:
        assert n.points(row["difference"]) in text
        assert n.accuracy(row["float_accuracy"]) in text
    checks = {c["id"]: c["data"] for c in raw["checks"]}
    first = next(p for p in checks["V3"]["pairs"] if p["found"])
    for needle in (
        n.integer(checks["V13"]["layers"][0]["states"]),
        f"neuron ({', '.join(map(str, first['neuron']))}), step {first['step']}",
        raw["provenance"]["bundle_hash"],
        raw["provenance"]["command"],
    ):
        assert needle in text


@pytest.mark.parametrize("gone", ["V1", "V2", "V3", "V4", "V5", "V7", "V9", "V13", "V15"])
def test_a_missing_check_leaves_a_page(make_report: Make, gone: str) -> None:
    raw = make_report()
    raw["checks"] = [c for c in raw["checks"] if c["id"] != gone]
    assert Page(render_html(raw)).stack == []


def test_empty_data_leaves_a_page(make_report: Make) -> None:
    raw = make_report()
    for check in raw["checks"]:
        check["data"], check["summary"] = {}, ""
    raw["network"]["layers"], raw["timing"] = [], {}
    raw["provenance"] = {}
    text = render_html(raw)
    assert Page(text).stack == []
    assert "Not part of this run (V7)" in text
    assert "Not part of this run (V5)" in text


def test_no_checks_is_said_plainly(make_report: Make) -> None:
    raw = make_report("inconclusive")
    raw["checks"] = []
    assert "No check ran" in render_html(raw)


def test_a_pass_over_a_failed_check_is_pointed_out(make_report: Make) -> None:
    raw = make_report()
    assert "Do not rely" not in render_html(raw)
    raw["checks"][0]["verdict"] = "fail"
    assert "This file says pass, yet V1 failed" in render_html(raw)


def test_same_report_same_bytes(make_report: Make, tmp_path: Path) -> None:
    raw = make_report()
    again = json.loads(json.dumps(raw))
    before = copy.deepcopy(raw)
    write_html(raw, tmp_path / "a.html")
    write_html(parse_report(again), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert raw == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_page_that_cannot_be_written_is_an_input_error(make_report: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not write"):
        write_html(make_report(), tmp_path / "missing" / "a.html")


def test_a_large_network_stays_below_two_megabytes(make_report: Make) -> None:
    raw = make_report()
    attacks = next(c for c in raw["checks"] if c["id"] == "V5")["data"]["attacks"]
    for attack in attacks:
        layers = attack["layers"]
        attack["layers"] = [{**layers[i % len(layers)], "name": f"l{i}"} for i in range(16)]
        for layer in attack["layers"]:
            layer["scatter"] = {k: v * 20 for k, v in layer["scatter"].items()}
            layer["energy"] = {k: v * 8 for k, v in layer["energy"].items()}
    assert len(render_html(raw).encode()) < 2_000_000


def test_settings_that_are_records_read_as_text(make_report: Make) -> None:
    """The attack's members stood there as JSON, broken in the middle of a word."""
    raw = make_report()
    members = [{"reset": "detached", "width": 0.25}, {"reset": "attached", "width": 1.0}]
    raw["provenance"]["suite"] = {"attack": {"members": members}, "mppd": {"ratio": [0.95, 1.05]}}
    page = render_html(raw)
    told = "reset detached, width 0.25; reset attached, width 1.0"
    assert f"<dt>attack.members</dt><dd>{told}</dd>" in page
    assert "<dt>mppd.ratio</dt><dd>0.95, 1.05</dd>" in page


def test_engines_that_were_compared_are_one_sentence(make_report: Make) -> None:
    """'engine lava, reference reference' says nothing to a reader."""
    raw = make_report()
    exact = next(c for c in raw["checks"] if c["id"] == "V1")
    exact["figures"] |= {"compared": 1234, "mismatches": 0, "engine": "lava"}
    assert exact["figures"]["reference"] == "reference"
    page = render_html(raw)
    assert "Compared: lava against the reference simulator, values 1,234, mismatches 0" in page
    assert "reference reference" not in page


def test_both_tables_of_stages_call_the_chip_network_by_one_name(make_report: Make) -> None:
    raw = make_report()
    pairs = next(c for c in raw["checks"] if c["id"] == "V3")["data"]["pairs"]
    pairs.append({"from": "reference", "to": "lava", "found": False})
    page = render_html(raw)
    assert "chip → lava" in page
    assert "reference →" not in page


def test_a_mark_never_stands_alone_on_a_line(make_report: Make) -> None:
    raw = make_report()
    view = {"perturbation": "clean", "strength": 0, "trained": 3, "chip": 4}
    view |= {"shape": [1, 1, 1], "pixels": "AA=="}
    accuracy = next(c for c in raw["checks"] if c["id"] == "V7")["data"]
    accuracy["examples"] = [{"kind": "both right", "image": 0, "label": 3, "views": [view]}]
    text = " ".join(render_html(raw).split())
    for word, said in (("right", "class 3"), ("wrong", "class 4")):
        assert f'{said}&nbsp;<span class="tick" role="img" aria-label="{word}">' in text


def test_what_sticks_to_the_side_keeps_its_lines_and_its_heading(make_report: Make) -> None:
    """A cell that sticks covers borders that belong to the table instead of to the cell."""
    page = render_html(make_report())
    assert "position:sticky" in page
    assert "border-collapse:collapse" not in page
    assert 'scope="rowgroup"><span>gaussian 32/255</span></th>' in page


def test_names_of_attacks_are_not_broken_at_their_hyphen(make_report: Make) -> None:
    raw = make_report()
    raw["sentence"] = "upper bound: weak attack weak-1; pgd-20 8/255; well-1d"
    page = render_html(raw)
    for name in ("weak-1", "pgd-20 8/255"):
        assert f'<span class="whole">{name}</span>' in page
    assert "well-1d</p>" in page
    assert re.search(r"\.whole\{[^}]*white-space:nowrap", page)


def test_intervals_say_their_confidence(make_report: Make) -> None:
    raw = make_report()
    raw["provenance"]["suite"] = {"alpha": 0.025}
    page = render_html(raw)
    assert "those of the two tests, of 95 % confidence" in page
    assert "bars: 95 % confidence intervals" in page
    raw["provenance"]["suite"] = {}
    assert "of the two tests, of" not in render_html(raw)


def test_each_legend_has_the_signs_of_its_own_charts(make_report: Make) -> None:
    """That of curves showed the pale dots of the other one."""
    page = render_html(make_report())
    dots, curves = page.split('id="energy"')
    legend = curves[curves.index('class="legend"') :].partition("</p>")[0]
    first = dots[dots.rindex('id="membrane"') :].partition("</p>")[0]
    assert legend.count("curve") == legend.count("swatch") > 0
    assert "curve" not in first


def test_the_times_of_the_checks_say_that_they_are_no_clock(make_report: Make) -> None:
    page = render_html(make_report())
    assert "They are no clock" in page and " s in all" not in page
