"""Every silent trap of Lava that concerns us is closed (docs/semantics.md, Lava traps)."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikeproof_lava
from spikeproof import fixedpoint as fx
from spikeproof.errors import GraphError, InputError, RangeError
from spikeproof.ir import chip
from spikeproof_lava import compat
from spikeproof_lava.jobs import host_mantissas
from spikeproof_lava.run import Task, run_many

needs_lava = pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc")
lava = [pytest.mark.lava, needs_lava]
Script = Callable[[str], str]

_BUILD = """
    import numpy as np, pathlib, tempfile, warnings
    from spikeproof.errors import TargetError
    from spikeproof.ir import chip
    from spikeproof_lava import build, jobs
    def network(weight):
        layer = chip.ChipLayer("out", (chip.Connection(chip.DenseSynapse(weight)),),
                               chip.LifNeuron(1, 0, np.zeros(1, np.int32)), (weight.shape[0],))
        return chip.ChipNetwork("n", (1, 1, weight.shape[1]), 2, (layer,))
    def job(weight):
        folder = pathlib.Path(tempfile.mkdtemp())
        x = np.ones((1, 1, 1, weight.shape[1]), np.uint8)
        return jobs.write_job(folder, network(weight), x, trace=False)
    even = np.array([[2, -4], [254, -256]], np.int16)
"""


@pytest.mark.lava
@needs_lava
def test_a_missing_tag_is_noticed_because_float_models_would_run(lava_script: Script) -> None:
    out = lava_script(
        _BUILD
        + """
    build.TAG = None
    try:
        build.compile_checked(build.build(job(even)))
    except TargetError as error:
        print(error)
    """
    )
    assert "Dense runs PyDenseModelFloat, expected PyDenseModelBitAcc" in out


@pytest.mark.lava
@needs_lava
def test_processes_that_lava_leaves_out_are_noticed(lava_script: Script) -> None:
    out = lava_script(
        _BUILD
        + """
    graph, apart = build.build(job(even)), build.build(job(even))
    try:
        build.compile_checked(build.Graph((*apart.processes, *graph.processes), {}, 1))
    except TargetError as error:
        print(error)
    """
    )
    assert "Dense runs nothing, expected PyDenseModelBitAcc" in out


@pytest.mark.lava
@needs_lava
def test_the_intended_models_are_selected_and_no_file_fails_to_import(lava_script: Script) -> None:
    out = lava_script(
        _BUILD
        + """
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        graph = build.build(job(even))
        build.compile_checked(graph)
    print([p.model_class.__name__ for p in graph.processes],
          [str(w.message) for w in seen if "Cannot import" in str(w.message)])
    """
    )
    assert out == "['FrameSourceModel', 'PyDenseModelBitAcc', 'RecordedLifModel'] []"


@pytest.mark.lava
@needs_lava
def test_unknown_keywords_are_errors_where_lava_swallows_them(lava_script: Script) -> None:
    out = lava_script("""
        import numpy as np
        from lava.proc.lif.process import LIF
        from spikeproof_lava.processes import process
        LIF(shape=(1,), nonsense=3)  # accepted: the trap
        for kind in (process.RecordedLif, process.ProgramLif, process.FrameSource):
            try:
                kind(nonsense=3)
            except TypeError:
                print("refused")
    """)
    assert out.split() == ["refused"] * 3


@pytest.mark.lava
@needs_lava
def test_weights_come_through_lavas_conditioning_unchanged(lava_script: Script) -> None:
    out = lava_script(
        _BUILD
        + """
    def run(weight, sign):
        try:
            made = build.make_synapse(chip.DenseSynapse(weight, sign), 1, "x")
            return (made.weights.init == weight).all()
        except TargetError as error:
            return error.what
    print(run(even, "mixed"), run(np.array([[0, 255, 3]]), "excitatory"),
          run(np.array([[0, -255, -3]]), "inhibitory"), run(even + 1, "mixed"), sep="|")
    """
    )
    assert out.split("|")[:3] == ["True"] * 3
    assert "would change 4 weights" in out.split("|")[3]


def test_float_weights_and_wide_biases_never_reach_lava(tiny: chip.ChipNetwork) -> None:
    out = tiny.layers[1]
    floats: Any = chip.DenseSynapse(np.full((3, 32), 0.4))
    wide = chip.ReadoutNeuron(np.full(3, 40_000))
    x = np.zeros((1, 1, 4, 4), np.uint8)
    for layer, words in (
        (out.changed(synapse=floats), "weight has type float64"),
        (replace(out, neuron=wide), "bias mantissa spans 40000..40000"),
    ):
        with pytest.raises(GraphError, match=words):
            run_many([Task(replace(tiny, layers=(tiny.layers[0], layer)), x)])


@pytest.mark.parametrize(
    "x", [np.zeros((1, 1, 4, 5), np.uint8), np.zeros((1, 1, 4, 4)), np.zeros((0, 1, 4, 4), "u1")]
)
def test_inputs_of_the_wrong_form_are_refused_before_lava_starts(
    tiny: chip.ChipNetwork, x: Any
) -> None:
    with pytest.raises(InputError):
        run_many([Task(tiny, x)])


def test_host_current_beyond_the_mantissa_is_refused_not_wrapped() -> None:
    weight = np.full((2, 4), 200, np.int16)
    synapse, host = chip.DenseSynapse(weight), chip.HostCurrent(np.zeros(1, np.int64), 0)
    layer = chip.ChipLayer(
        "l1",
        (chip.Connection(synapse, host=host),),
        chip.LifNeuron(1, 0, np.zeros(1, np.int32)),
        (2,),
    )
    network = chip.ChipNetwork("h", (1, 2, 2), 2, (layer,))
    x = np.array([[[[0, 0], [0, 0]]], [[[255, 0], [0, 0]]]], np.uint8)
    with pytest.raises(RangeError, match="sample 1, neuron 0 has mantissa 51000"):
        run_many([Task(network, x)])


@pytest.mark.lava
@needs_lava
def test_streamed_samples_equal_samples_run_alone(tiny: chip.ChipNetwork, images: Any) -> None:
    x = images(4)
    together, *alone = run_many(
        [Task(tiny, x, True), *(Task(tiny, x[i : i + 1], True) for i in range(4))]
    )
    for name, trace in (together.traces or {}).items():
        for i, single in enumerate(alone):
            one = (single.traces or {})[name]
            assert np.array_equal(trace.u[i], one.u[0])
            assert np.array_equal(trace.v[i], one.v[0])
            assert (trace.s is None and one.s is None) or np.array_equal(trace.s[i], one.s[0])


@pytest.mark.lava
@needs_lava
def test_every_neuron_runs_lavas_arithmetic_and_not_ours(lava_script: Script) -> None:
    out = lava_script("""
    from pathlib import Path
    from lava.proc.lif.models import PyLifResetModelBitAcc as Lava
    from spikeproof_lava.processes import models
    for name in ("subthr_dynamics", "scale_bias", "spiking_activation"):
        print(getattr(models.RecordedLifModel, name) is getattr(Lava, name))
    for name in ("scale_bias", "spiking_activation"):
        print(getattr(models.ProgramLifModel, name) is getattr(Lava, name))
    # Beyond Lava's step: the state a sample begins with, and the subtraction of a soft reset.
    text = Path(models.__file__).read_text()
    print(text.count("super().subthr_dynamics(activation_in)") == text.count("self.v[") - 1 == 1)
    print("fixedpoint" in text)
    """)
    assert out.split() == ["True"] * 6 + ["False"]


def test_host_currents_are_rounded_by_a_second_implementation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mantissas(shift: int) -> list[int]:
        synapse, host = chip.DenseSynapse(weight), chip.HostCurrent(offset, shift)
        layer = chip.ChipLayer(
            "l1", (chip.Connection(synapse, host=host),), chip.LifNeuron(1, 0, zero), (2,)
        )
        x = np.array([5, 6, 7, 10], np.uint8).reshape(4, 1, 1, 1)
        return host_mantissas(chip.ChipNetwork("h", (1, 1, 1), 2, (layer,)), x).T.ravel().tolist()

    weight = np.array([[1], [-1]], np.int16)
    offset, zero = np.zeros(1, np.int64), np.zeros(1, np.int32)
    monkeypatch.setattr(fx, "round_half_up_shift", None)  # the engines' implementation
    assert mantissas(0) == [5, 6, 7, 10, -5, -6, -7, -10]
    assert mantissas(1) == [3, 3, 4, 5, -2, -3, -3, -5]  # ties go up
    assert mantissas(2) == [1, 2, 2, 3, -1, -1, -2, -2]
    assert mantissas(31) == [0] * 8
    offset = np.array([2, -1], np.int64)
    assert mantissas(2) == [2, 2, 2, 3, -1, -2, -2, -3]


def test_the_folder_lava_executes_holds_only_processes() -> None:
    folder = Path(spikeproof_lava.__path__[0]) / "processes"
    assert {p.name for p in folder.iterdir() if p.name != "__pycache__"} == {
        "__init__.py",
        "process.py",
        "models.py",
    }
    allowed = (ast.Import, ast.ImportFrom, ast.ClassDef)
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert docstring or isinstance(node, allowed), f"{path.name}:{node.lineno} has effects"
