"""The public functions: lazy, thin, of short reprs, and as their examples say."""

from __future__ import annotations

import doctest
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spikeproof
from spikeproof import api
from spikeproof.errors import BundleError, InputError, UnsupportedError
from spikeproof.io.bundle import Bundle, load_bundle
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint

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
        assert made.record["table"] == by_path.record["table"]
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
    with pytest.raises(InputError, match="unknown key, did you mean 'weight_bits'"):
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
