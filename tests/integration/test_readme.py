"""What the documents say is what the program does."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest

import spikeproof
from spikeproof.attacks.suites import suite_of
from spikeproof.attacks.weak import WEAK
from spikeproof.cli.app import INTERNAL, INTERRUPTED
from spikeproof.cli.parser import COMMANDS, load_command
from spikeproof.cli.verdict import EXIT_CODES
from spikeproof.convert.images import load_images
from spikeproof.convert.pipeline import convert_network
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.reasons import HELP_PAGE, worst_first
from spikeproof.verify.advice import Supply
from spikeproof.verify.checks.response import judge_perturbations
from spikeproof.verify.config import load_config
from spikeproof.verify.perturbations import CHUNK, craft_chunk, perturbations
from spikeproof.verify.responses import measure_batch, merge_batches

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
TEST_COMMAND = "python3 -m pip install uv && python3 -m uv run pytest"
DEMO_COMMAND = "python3 -m pip install uv && python3 -m uv run spikeproof demo"


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.split("  #")[0].strip() for b in blocks for line in b.splitlines() if line]


def test_the_two_commands_are_at_the_top() -> None:
    assert shell_lines(README)[:2] == [DEMO_COMMAND, TEST_COMMAND]


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    body = re.search(r"^tests\(\) \{\n(.*?)^\}", script, re.DOTALL | re.MULTILINE)
    assert body is not None
    assert body.group(1).strip() == TEST_COMMAND


def test_the_page_that_reports_and_terminal_name_exists_and_is_linked() -> None:
    page = ROOT / "docs" / "verification-failed.md"
    assert page.read_text(encoding="utf-8").splitlines()[0] == f"# {HELP_PAGE}"
    for other in (README, (ROOT / "docs" / "howto.md").read_text(encoding="utf-8")):
        assert f"[{HELP_PAGE}](" in other


def test_the_page_of_failures_explains_every_check_that_is_judged() -> None:
    guarantees = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    judged = re.findall(r"^\| (V\d+) \| (?:proved|tested)", guarantees, re.MULTILINE)
    page = (ROOT / "docs" / "verification-failed.md").read_text(encoding="utf-8")
    heads = " ".join(line for line in page.splitlines() if line.startswith("## "))
    assert len(judged) >= 8
    assert [check for check in judged if not re.search(rf"\b{check}\b", heads)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_line_in_the_documents_can_be_parsed(page: Path) -> None:
    for line in shell_lines(page.read_text(encoding="utf-8")):
        words = shlex.split(line)
        if "spikeproof" not in words[:1]:
            continue
        name, rest = words[1], [w for w in words[2:] if w != "..."]
        assert name in COMMANDS, line
        load_command(name).make_context(name, list(rest))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_option_and_command_named_in_the_documents_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {
        o for n in COMMANDS for p in load_command(n).params for o in (*p.opts, *p.secondary_opts)
    } | {"--help"}
    foreign = {
        "--fix",
        "--wheel",
        "--host",
        "--no-dashboard",
        "--no-deps",
        "--ignore-requires-python",
        "--all",
        "--nworkers",
        "--nthreads",
        "--write",
        "--before",
        "--wide",
        "--divisor",
        "--samples",
        "--chip",
        "--candidates",
        "--survivors",
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named <= known | foreign
    assert set(re.findall(r"`spikeproof ([a-z]+)", text)) <= set(COMMANDS)


def test_every_data_file_of_a_command_ships_or_is_made_by_an_earlier_command() -> None:
    for page in PAGES:
        lines = shell_lines(page.read_text(encoding="utf-8"))
        made = [line for line in lines if "spikeproof_models.shipped --all" in line]
        for line in lines:
            for name in re.findall(r"--data (\S+)", line):
                assert (ROOT / name).exists() or (made and "test-10000" in name), line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8")):
        if target == "docs/report.png":
            continue  # the picture is made from a run
        assert (page.parent / target).exists(), target


def test_every_path_named_in_code_style_exists() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:models|tests|toolchain|deploy|docs)/[\w./-]+)`", text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
        for name in re.findall(r"`(spikeproof/[\w./-]+\.py)`", text):
            assert (ROOT / "toolchain" / name).exists(), f"{page.name}: {name}"
        for recipe in re.findall(r"models/recipes/[\w-]+\.toml", text):
            assert (ROOT / recipe).exists(), f"{page.name}: {recipe}"


def test_the_readme_gives_the_exit_codes_of_the_program() -> None:
    stated = {word: int(code) for code, word in re.findall(r"(\d) ([a-z]+)", README)}
    assert {k: stated[k] for k in ("pass", "inconclusive")} == {
        k: EXIT_CODES[k] for k in ("pass", "inconclusive")
    }
    assert stated["verification"] == EXIT_CODES["fail"]
    assert stated["internal"] == INTERNAL
    assert f"Ctrl-C ends with {INTERRUPTED}" in README


def test_the_python_of_the_readme_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    imported = re.findall(r"^(?:import|from) (.+)$", blocks[0], re.MULTILINE)
    used = set(re.findall(r"spikeproof\.(\w+)", blocks[0]))
    assert imported == ["spikeproof"] and used <= set(spikeproof.__all__)
    exec(compile(blocks[0], "README.md", "exec"), {})
    accuracy = float(capsys.readouterr().out.split(":")[1])
    assert accuracy > 0.8


@pytest.mark.parametrize("page", ["cli.md", "api.md"])
def test_the_reference_is_made_from_the_parser_and_the_docstrings(page: str) -> None:
    made = runpy.run_path(str(ROOT / "tests" / "reference.py"))["PAGES"][page]()
    assert (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8") == made


def test_the_figures_of_the_readme_are_those_of_the_cards() -> None:
    module = runpy.run_path(str(ROOT / "tests" / "figures.py"))
    assert module["with_table"](README, module["table"]()) == README


def test_every_attack_figure_of_the_readme_names_its_attack_and_is_called_an_upper_bound() -> None:
    """And the figures of the suite are those of its table, with the suite's name beside them."""
    head = next(line for line in README.splitlines() if line.startswith("| network | clean"))
    attacks = [cell.strip() for cell in head.split("|") if re.search("PGD|worst", cell)]
    worst, naive = attacks[:-1], attacks[-1]
    assert worst and all("upper bound: sp-standard-1" in cell for cell in worst)
    assert naive == "naive PGD-7 8/255" and "they hide their gradient from it" in README
    assert "These networks do not withstand adaptive\nattacks." in README
    page = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    assert "`sp-quick-1`" in README and "It is\nan upper bound, too" in page
    rows = [line for line in page.splitlines() if line.startswith(("| | fmnist", "| after "))]
    networks, *members = ([c.strip() for c in row.split("|")[1:-1]] for row in rows)
    assert len(members) == len(suite_of("sp-quick-1").members)
    left = dict(zip(networks, members[-1], strict=True))
    for told in (README, page):
        text = " ".join(told.split())
        for name in ("lif-natural", "lif-adversarial", "dlif-adversarial-mppd"):
            share = f"{float(left[f'fmnist-{name} 8/255']):g}"
            assert f"{share} % of `fmnist-{name}`" in text


def test_the_attack_of_the_documents_is_the_one_in_use() -> None:
    page = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    members = " and ".join(member.name for member in WEAK.members)
    assert f"| {WEAK.name}: {members} |" in page
    assert f"`{WEAK.name}`" in page and f"PGD-{WEAK.steps}" in page


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("nested", [False, True], ids=["state dict", "entry of several"])
def test_the_example_of_bringing_a_network_makes_a_checkpoint_that_converts(
    nested: bool, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = torch.nn.ModuleDict(
        {
            "conv1": torch.nn.Conv2d(1, 4, 3, 2, 1),
            "bn1": torch.nn.BatchNorm2d(4),
            "fc": torch.nn.Linear(4 * 14 * 14, 10),
        }
    )
    page = (ROOT / "docs" / "howto.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "FloatNet" in b)
    monkeypatch.chdir(tmp_path)
    state = module.state_dict()
    content = {"epoch": 3, "model": state} if nested else state
    torch.save(content, "mine.pth", _use_new_zipfile_serialization=zipped)
    exec(compile(block, "howto.md", "exec"), {})
    images = np.random.default_rng(0).integers(0, 256, (16, 1, 28, 28), np.uint8)
    network = load_checkpoint("mine.ckpt").network
    assert convert_network(network, images).chip.layers[-1].name == "out"


@pytest.mark.slow
def test_what_the_readme_says_of_its_verification_is_what_is_measured() -> None:
    """The command's own chunks, seeds and judgement, of the one perturbation that decides it."""
    pytest.importorskip("torch", reason="verification needs torch")
    checkpoint = load_checkpoint(ROOT / "models" / "zoo" / "fmnist-lif-natural.ckpt")
    calibration = load_images(None, "calibration", checkpoint, None)
    shipped = load_images(None, "test", checkpoint, None)
    chip = convert_network(checkpoint.network, calibration.x).chip
    config = load_config("quick")
    weakest = perturbations(config, len(shipped.x))[0]
    responses = []
    for start in range(0, weakest.samples, CHUNK):
        part = slice(start, min(start + CHUNK, weakest.samples))
        labels = np.asarray(shipped.y)
        crafted = craft_chunk(
            weakest, checkpoint.network, shipped.x, labels, start, seed=config.seed
        )
        noisy = {weakest.name: crafted.images}
        responses.append(measure_batch(checkpoint.network, chip, shipped.x[part], noisy))
    supply = Supply(len(shipped.x), len(shipped.x), config.samples.model_dump())
    kinds = {weakest.name: weakest.kind}
    _, reasons = judge_perturbations(merge_batches(responses), kinds, config, supply)
    worst = worst_first(reasons)[0]
    assert (worst.verdict, worst.layer, worst.would) == ("inconclusive", "l3", "pass")
    text = " ".join(README.split())
    said = (
        f"in layer {worst.layer}, under the weakest noise, half of the images may differ by "
        f"{worst.allowed}, and the {worst.images} images used show no better than "
        f"{worst.shown.removeprefix('at most ')}. About {worst.images_needed:,} images decide it, "
        f"more than the {len(shipped.x):,} that ship"
    )
    assert said in text
    assert f"--set samples.{weakest.kind}={worst.images_needed}" in README
