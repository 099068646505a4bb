"""The public functions: lazy, thin, of short reprs, and as their examples say."""

from __future__ import annotations

import doctest
import functools
import inspect
import pydoc
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikeproof
from spikeproof import api
from spikeproof.convert.images import images_of
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.registry import ENGINES
from spikeproof.errors import BundleError, InputError, RangeError, UnsupportedError
from spikeproof.formats.netx.frontend import NETX
from spikeproof.io.bundle import Bundle, load_bundle
from spikeproof.io.checkpoint import Checkpoint, checkpoint_hash, load_checkpoint
from spikeproof.io.formats import FRONTENDS, ChipFrontend
from spikeproof.io.kinds import is_kind
from spikeproof.ir.chip import ChipNetwork

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
NEEDS = {"verify": "torch", "export": "onnx"}


converted = functools.cache(api.convert)


def fresh(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )


def test_importing_the_package_imports_nothing_else() -> None:
    done = fresh(
        "import sys; before = set(sys.modules); import spikeproof\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "new -= set(sys.stdlib_module_names)\n"
        "new |= {name for name in sys.modules if name.startswith('spikeproof.')}\n"
        "print(new); sys.exit(new != {'spikeproof'})"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_using_the_functions_imports_no_torch_and_no_lava() -> None:
    done = fresh(
        "import sys, spikeproof\n"
        "spikeproof.load('fmnist-lif-natural'), spikeproof.inspect('fmnist-lif-natural')\n"
        "[getattr(spikeproof, name) for name in spikeproof.__all__]\n"
        "sys.exit(str({'torch', 'lava'} & set(sys.modules) or 0))"
    )
    assert done.stderr.strip() in ("", "0"), done.stderr


@pytest.mark.parametrize("name", ["package", *spikeproof.__all__])
def test_the_example_in_the_docstring_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal conversions are made once: most examples begin with the same one."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name != "convert":
        monkeypatch.setattr(api, "convert", converted)
    thing = spikeproof if name == "package" else getattr(api, name)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(thing, name, globs={})
    assert example.examples
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    told: list[str] = []
    runner.run(example, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


@pytest.mark.parametrize("name", spikeproof.__all__)
def test_the_docstring_names_every_parameter_and_what_is_raised(name: str) -> None:
    function = getattr(api, name)
    text = function.__doc__
    assert text.splitlines()[0].endswith(".") and "Raises:" in text
    code = function.__code__
    for parameter in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        assert f"        {parameter}: " in text, parameter


def test_functions_of_the_name_of_a_package_are_both() -> None:
    done = fresh(
        "import spikeproof.convert.pipeline, spikeproof.verify.config, spikeproof\n"
        "from spikeproof import convert, verify\n"
        "assert callable(convert) and convert.pipeline and verify.config and convert.__path__\n"
        "try:\n"
        "    spikeproof.convert('no-such-network')\n"
        "except spikeproof.errors.InputError as error:\n"
        "    assert 'neither a file nor a shipped network' in str(error)\n"
        "else:\n"
        "    raise SystemExit(1)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["convert", "verify"])
def test_a_package_that_is_called_looks_like_its_function(name: str) -> None:
    package, function = getattr(spikeproof, name), getattr(api, name)
    assert inspect.signature(package) == inspect.signature(function)
    assert package.__doc__ == function.__doc__
    assert repr(package) == f"<function spikeproof.{name}, also the package of this name>"
    shown = pydoc.render_doc(package, renderer=pydoc.plaintext)
    assert f"spikeproof.{name} - {function.__doc__.splitlines()[0]}" in shown
    assert "force: replace" in shown


def test_an_unknown_name_is_an_attribute_error_as_ever() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'konvert'"):
        spikeproof.konvert  # noqa: B018
    assert set(spikeproof.__all__) <= set(dir(spikeproof))


def test_strings_paths_and_results_serve_alike(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path
) -> None:
    loaded = api.load(tiny_checkpoint)
    assert isinstance(loaded, Checkpoint)
    assert loaded.content_hash == load_checkpoint(tiny_checkpoint).content_hash != ""
    target = tmp_path / "new" / "net.spk"
    by_path = api.convert(tiny_checkpoint, tiny_images, output=target)
    with np.load(tiny_images) as arrays:
        x, y = arrays["x"], arrays["y"]
    by_value = api.convert(loaded, x)
    by_text = api.convert(str(tiny_checkpoint), str(tiny_images))
    assert load_bundle(target).content_hash == by_path.content_hash
    stored = api.load(str(target))
    assert isinstance(stored, Bundle) and stored.content_hash == by_path.content_hash
    for made in (by_value, by_text):
        assert made.record.table == by_path.record.table
    runs = [
        api.run(target, tiny_images),
        api.run(by_value, (x, y), engine="numpy"),
        api.run(str(target), (x / np.float32(255), y), engine="reference", limit=len(x)),
    ]
    for found in runs:
        np.testing.assert_array_equal(found.predictions, runs[0].predictions)
        np.testing.assert_array_equal(found.logits, runs[0].logits)
        assert found.accuracy == runs[0].accuracy is not None
    bare = api.run(target, x, limit=3)
    assert bare.accuracy is None and repr(bare) == "<Run of 3 samples on fast>"
    assert all(len(repr(thing)) < 100 for thing in (loaded, stored, *runs, api.inspect(target)))


def test_what_is_written_is_what_is_described(tiny_checkpoint: Path, tiny_images: Path) -> None:
    found = api.inspect(tiny_checkpoint)
    assert (found.kind, len(found.layers)) == ("checkpoint", 8)
    assert found.document["name"] == "tiny"


def test_bad_input_gets_one_clear_error(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path
) -> None:
    bundle = api.convert(tiny_checkpoint, tiny_images)
    with pytest.raises(
        InputError, match="unknown setting 'weight_bit'; did you mean 'weight_bits'"
    ):
        api.convert(tiny_checkpoint, tiny_images, weight_bit=8)
    with pytest.raises(InputError, match="was not trained on the images that ship"):
        api.convert(tiny_checkpoint)
    with pytest.raises(InputError, match="was not calibrated on the images that ship"):
        api.run(bundle)
    with pytest.raises(InputError, match="no engine 'fats'; did you mean 'fast'"):
        api.run(bundle, tiny_images, engine="fats")
    with pytest.raises(InputError, match="expected"):
        api.run(bundle, np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(InputError, match="no format 'onx'; did you mean 'onnx'"):
        api.export(bundle, tmp_path / "net.onnx", format="onx")
    with pytest.raises(InputError, match="contradicts the name"):
        api.export(bundle, tmp_path / "net.onnx", format="net")
    with pytest.raises(InputError, match="timesteps does not apply"):
        api.load(tiny_checkpoint, timesteps=4)
    with pytest.raises((InputError, BundleError)):
        api.load(tmp_path / "missing.ckpt")
    with pytest.raises(UnsupportedError):
        api.export(bundle, tmp_path / "net.net")


@pytest.fixture
def bundle(tiny_checkpoint: Path, tiny_images: Path) -> Bundle:
    """The small network, converted."""
    return api.convert(tiny_checkpoint, tiny_images)


@pytest.fixture
def xy(tiny_images: Path) -> tuple[Any, Any]:
    """Images and labels for the small network."""
    with np.load(tiny_images) as arrays:
        return arrays["x"], arrays["y"]


WRONG: list[tuple[str, Callable[[Any, Any, Any], object]]] = [
    *(
        (rf"run: limit is {shown}, expected a whole number of 1 or more", call)
        for shown, call in [
            ("-1", lambda b, x, y: api.run(b, x, limit=-1)),
            ("0", lambda b, x, y: api.run(b, x, limit=0)),
            (r"2\.5", lambda b, x, y: api.run(b, x, limit=2.5)),
            ("'3'", lambda b, x, y: api.run(b, x, limit="3")),
            ("True", lambda b, x, y: api.run(b, x, limit=True)),
        ]
    ),
    ("verify: limit is -1", lambda b, x, y: api.verify(b, "n", (x, y), limit=-1)),
    (
        "run: bundle is of type ChipNetwork, expected a path or a Bundle",
        lambda b, x, y: api.run(b.network, x),
    ),
    ("run: data is a tuple of 1, expected", lambda b, x, y: api.run(b, (x,))),
    ("run: data is a tuple of 3, expected", lambda b, x, y: api.run(b, (x, y, y))),
    ("run: data is of type dict, expected", lambda b, x, y: api.run(b, {"x": x})),
    ("array: x: is no array", lambda b, x, y: api.run(b, [x[0], x[0, :, :2]])),
    ("array: y: is no array", lambda b, x, y: api.run(b, (x, [[1], [2, 3]]))),
    ("run: engine is None, expected a name", lambda b, x, y: api.run(b, x, engine=None)),
    (
        "run: engine is of type list, expected a name",
        lambda b, x, y: api.run(b, x, engine=["fast"]),
    ),
    ("trace is 'yes', expected True or False", lambda b, x, y: api.run(b, x, trace="yes")),
    ("run: 2 problems", lambda b, x, y: api.run(b, x, engine=None, limit=0)),
    ("verify: settings is of type list", lambda b, x, y: api.verify(b, "n", settings=["a=1"])),
    ("verify: settings is of type dict", lambda b, x, y: api.verify(b, "n", settings={1: 2})),
    ("verify: suite is None", lambda b, x, y: api.verify(b, "n", suite=None)),
    ("verify: against is None", lambda b, x, y: api.verify(b, None)),
    ("verify: calibration is 3", lambda b, x, y: api.verify(b, "n", calibration=3)),
    ("verify: output is ''", lambda b, x, y: api.verify(b, "n", output="")),
    ("load: model is of type Bundle", lambda b, x, y: api.load(b)),
    ("convert: model is of type Bundle", lambda b, x, y: api.convert(b)),
    ("convert: calibration is 3", lambda b, x, y: api.convert("n", 3)),
    ("convert: output is 3", lambda b, x, y: api.convert("n", output=3)),
    ("convert: force is 1", lambda b, x, y: api.convert("n", force=1)),
    ("export: path is None", lambda b, x, y: api.export(b, None)),
    (r"export: path is 'a\\x00b'", lambda b, x, y: api.export(b, "a\0b")),
    ("export: format is 3", lambda b, x, y: api.export(b, "n", format=3)),
    ("export: traces is None", lambda b, x, y: api.export(b, "n", traces=None)),
    ("inspect: model is 3", lambda b, x, y: api.inspect(3)),
    (
        "inspect: input_shape is a tuple of 2",
        lambda b, x, y: api.inspect("fmnist-lif-natural", input_shape=(1, 28)),
    ),
    ("timestep: Unexpected keyword", lambda b, x, y: NETX.load(Path("x.net"), timestep=4)),
    ("timesteps: .*found 'four'", lambda b, x, y: NETX.load(Path("x.net"), timesteps="four")),
]


def test_what_is_of_no_use_is_named_at_the_border(bundle: Bundle, xy: tuple[Any, Any]) -> None:
    for told, call in WRONG:
        with pytest.raises(InputError, match=told):
            call(bundle, *xy)


WAYS_OUT: list[tuple[str, Callable[[Bundle, Checkpoint], object]]] = [
    ("or the name of a shipped network: .*fmnist-lif-natural", lambda b, c: api.load(5)),
    ("It is loaded already: use it as it is", lambda b, c: api.load(b)),
    ("It is loaded already: take its file", lambda b, c: api.inspect(c)),
    ("leaving it out, takes all samples", lambda b, c: api.run(b, limit=0)),
    (r"bundle = spikeproof\.convert\(checkpoint\)", lambda b, c: api.run(c)),
    (r"bundle = spikeproof\.convert\(checkpoint\)", lambda b, c: api.export(c, "a.onnx")),
    ("give the trained network that it was made from", lambda b, c: api.verify(b, b)),
    ("the Bundle itself, not its network", lambda b, c: api.run(b.network)),
    (r"Checkpoint\(network\)\.", lambda b, c: api.convert(c.network)),
    (r"as a spikeproof\.ir\.floats\.FloatNetwork", lambda b, c: api.convert({"w": 1})),
    (r"as a spikeproof\.ir\.floats\.FloatNetwork", lambda b, c: api.convert(_Module())),
    ("Give what spikeproof.convert returned", lambda b, c: api.run(None)),
]


class _Module:
    """What a torch module is known by, where torch is not installed."""

    def state_dict(self) -> dict[str, object]:
        return {}


def test_a_wrong_argument_is_told_what_to_give_instead(
    bundle: Bundle, tiny_checkpoint: Path
) -> None:
    checkpoint = api.load(tiny_checkpoint)
    assert isinstance(checkpoint, Checkpoint)
    for way, call in WAYS_OUT:
        with pytest.raises(InputError) as error:
            call(bundle, checkpoint)
        assert re.search(way, error.value.hint or ""), (way, str(error.value))


def test_a_limit_is_a_whole_number_of_one_or_more(bundle: Bundle, xy: tuple[Any, Any]) -> None:
    assert len(api.run(bundle, xy, limit=np.int64(3)).predictions) == 3  # type: ignore[arg-type]
    images = images_of(xy, (1, 8, 8))
    assert images.first(np.int64(3)).record.model_dump_json()  # type: ignore[arg-type]
    assert len(images.first(None).x) == len(images.first(100).x) == 24
    for count in (-1, 0, 2.5):
        with pytest.raises(InputError, match="expected a whole number of 1 or more, or None"):
            images.first(count)  # type: ignore[arg-type]


def test_no_file_of_another_kind_is_replaced_unless_told_so(
    bundle: Bundle, tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt: exists and is no bundle; force=True repl"):
        api.convert(tiny_checkpoint, tiny_images, output=notes)
    with pytest.raises(InputError, match="is no ONNX model"):
        api.export(bundle, notes, format="onnx")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report\.html: exists and is no report page"):
        api.verify(bundle, tiny_checkpoint, tiny_images, output=tmp_path / "run")
    assert notes.read_text() == (tmp_path / "run" / "report.html").read_text() == "mine"
    with pytest.raises(InputError, match="was given as input and is never overwritten"):
        api.convert(tiny_checkpoint, tiny_images, output=tiny_checkpoint, force=True)
    with pytest.raises(InputError, match=f"export: {tmp_path}: is a folder"):
        api.export(bundle, tmp_path, format="onnx", force=True)
    for force in (True, False):  # the second time a bundle is replaced by a bundle
        api.convert(tiny_checkpoint, tiny_images, output=notes, force=force)
        assert is_kind(notes, "bundle")


def test_an_export_makes_its_folder_and_gives_traces(bundle: Bundle, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    plain = api.export(bundle, tmp_path / "new" / "deep" / "plain.onnx")
    traced = api.export(bundle, plain, traces=True)
    names = {output.name for output in onnx.load(traced).graph.output}
    assert {"l1/u", "l1/v", "l1/s"} <= names, names
    with pytest.raises(InputError, match=r"traces are not for a \.net file"):
        api.export(bundle, tmp_path / "net.net", traces=True)


class Picky(NumpyEngine):
    """Refuses every network, and would run it."""

    name = "picky"

    def problems(self, network: ChipNetwork) -> list[str]:
        return ["I do not like it"]

    def run(self, network: ChipNetwork, x: Any, **options: Any) -> Any:
        return NumpyEngine().run(network, x, **options)


@pytest.fixture
def picky() -> Iterator[str]:
    """An engine of that name."""
    ENGINES.add("picky", Picky)
    yield "picky"
    ENGINES.remove("picky")


def test_what_an_engine_refuses_is_neither_run_nor_verified(
    bundle: Bundle, tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path, picky: str
) -> None:
    with pytest.raises(UnsupportedError, match="I do not like it"):
        api.run(bundle, tiny_images, engine=picky)
    pytest.importorskip("torch")
    with pytest.raises(UnsupportedError, match="I do not like it"):
        api.verify(
            bundle, tiny_checkpoint, tiny_images, settings={"engine": picky}, output=tmp_path / "r"
        )
    assert not (tmp_path / "r").exists()


def test_labels_must_be_classes_of_the_network(bundle: Bundle, xy: tuple[Any, Any]) -> None:
    x, y = xy
    with pytest.raises(InputError, match="1 of 24 labels is no class of this network"):
        api.run(bundle, (x, np.where(np.arange(24) == 3, 77, y)))


def test_a_conversion_that_could_overflow_is_not_handed_out(
    tiny_checkpoint: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(_: Bundle) -> None:
        raise RangeError("too large")

    monkeypatch.setattr(api, "check_bundle_ranges", overflowing)
    with pytest.raises(RangeError):
        api.convert(tiny_checkpoint, tiny_images)


def test_what_a_verification_is_told_gets_to_it(
    bundle: Bundle,
    tiny_checkpoint: Path,
    xy: tuple[Any, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    from spikeproof.verify import run as room

    real, told = room.verify, []

    def noted(*args: Any) -> Any:
        told.append(args)
        return real(*args)

    monkeypatch.setattr(room, "verify", noted)
    few = {f"perturbations.{kind}": [] for kind in ("gaussian", "fgsm", "pgd")}
    found = api.verify(
        bundle,
        tiny_checkpoint,
        xy,
        calibration=xy[0],
        limit=10,
        suite="standard",
        settings={**few, "engine": "fast"},
        output=tmp_path / "run",
    )
    ((_, samples, config, folder),) = told
    assert (config.suite, config.engine, folder) == ("standard", "fast", tmp_path / "run")
    assert len(samples.x) == len(samples.y) == samples.record.samples == 10
    np.testing.assert_array_equal(samples.calibration, xy[0])
    assert found.page == tmp_path / "run" / "report.html"
    assert found.page.stat().st_size > 0 and is_kind(found.page, "report page")
    assert found.report.network.name in found.page.read_text(encoding="utf-8")


def test_what_a_file_leaves_open_gets_to_its_frontend(bundle: Bundle, tmp_path: Path) -> None:
    told: list[object] = []

    def load(path: Path, data: Path | None, **options: Any) -> Bundle:
        told.append((path.name, data, options))
        return bundle

    def look(path: Path, shape: Any) -> Any:
        raise InputError(f"looked at with {shape}")

    path = tmp_path / "net.toy"
    path.write_text("toy")
    FRONTENDS.add("toy", ChipFrontend("toys", lambda p: p.suffix == ".toy", load, (), look))
    try:
        api.load(path, timesteps=4, skip_input=True)
        api.convert(path, "some.npz", timesteps=5)
        with pytest.raises(InputError, match=r"looked at with \(1, 2, 3\)"):
            api.inspect(path, input_shape=(1, 2, 3))
    finally:
        FRONTENDS.remove("toy")
    assert told == [
        ("net.toy", None, {"timesteps": 4, "skip_input": True}),
        ("net.toy", Path("some.npz"), {"timesteps": 5}),
    ]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda b, c: spikeproof.run(b, engine="nosuch"), "engine: no engine 'nosuch'"),
        (lambda b, c: spikeproof.verify(b, c, suite="slow"), "suite: no suite 'slow'"),
        (
            lambda b, c: spikeproof.verify(b, c, settings={"suite": "x"}),
            "a suite with suite (quick",
        ),
        (lambda b, c: spikeproof.export(b, "x.onnx", format="nosuch"), "format: no format"),
        (lambda b, c: spikeproof.inspect(c, input_shape=(1, 8, 8)), "Leave out input_shape."),
        (lambda b, c: spikeproof.convert(c), "Give calibration FILE: npz with "),
        (lambda b, c: spikeproof.verify(b, c), "Give data FILE: npz with "),
    ],
)
def test_errors_of_the_functions_name_arguments_and_not_options(
    call: Any, told: str, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    with pytest.raises(InputError) as error:
        call(tiny_bundle, tiny_checkpoint)
    assert told in str(error.value)
    assert "--" not in str(error.value)


def test_commands_that_an_error_quotes_stay_as_they_are_typed() -> None:
    from spikeproof.io.arguments import speaks_python

    @speaks_python
    def fails() -> None:
        raise InputError("no --data", where="--set", hint="See `spikeproof run --data X`, --limit.")

    with pytest.raises(InputError) as error:
        fails()
    assert str(error.value) == "settings: no data\n  -> See `spikeproof run --data X`, limit."


def test_a_dict_for_images_is_told_what_is_expected(tiny_bundle: Path) -> None:
    x = np.zeros((2, 1, 8, 8), np.uint8)
    given: Any = {"x": x}
    with pytest.raises(InputError, match=r"data is of type dict.*a pair") as error:
        spikeproof.run(tiny_bundle, given)
    assert '(d["x"], d["y"])' in str(error.value)
    for odd in ([given], (given, None)):
        with pytest.raises(InputError, match=r"objects of Python \(dict\), not numbers"):
            spikeproof.run(tiny_bundle, odd)


def test_what_was_converted_in_memory_is_verified_with_its_file(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    loaded = load_checkpoint(tiny_checkpoint)
    in_memory = Checkpoint(loaded.network, loaded.training)
    assert checkpoint_hash(in_memory) == loaded.content_hash
    images = np.random.default_rng(0).integers(0, 256, (8, *loaded.network.input_shape), np.uint8)
    bundle = api.convert(in_memory, images)
    assert bundle.record.checkpoint is not None
    assert bundle.record.checkpoint.hash == loaded.content_hash
