"""Lava becomes importable where it is not, and only where it must be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from spikeproof.errors import MissingExtraError, TargetError
from spikeproof_lava import compat

needs_lava = pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc")


@pytest.mark.parametrize("version", ["2.4.0", "2.5.1", "3.0.0rc1"])
def test_numpy_that_makes_lava_hang_is_refused(version: str) -> None:
    with pytest.raises(TargetError, match="hang") as caught:
        compat.check_numpy(version)
    assert "doctor --install lava" in str(caught.value.hint)


@pytest.mark.parametrize("version", ["1.26.4", "2.3.9", "2.0.0rc1"])
def test_older_numpy_is_accepted(version: str) -> None:
    compat.check_numpy(version)


def test_missing_lava_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "installed_version", lambda: None)
    with pytest.raises(MissingExtraError, match="lava-nc") as caught:
        compat.check_installed()
    assert "spikeproof doctor --install lava" in str(caught.value.hint)


@needs_lava
@pytest.mark.lava
def test_only_the_one_class_gets_a_hash(lava_script: Callable[[str], str]) -> None:
    out = lava_script("""
        import sys
        from dataclasses import dataclass
        @dataclass
        class ByteEncoder:
            x: int = 0
        from lava.magma.compiler import var_model
        mine, theirs = ByteEncoder.__hash__, var_model.ByteEncoder.__hash__
        print(mine is None, theirs is None or sys.version_info >= (3, 11))
    """)
    assert out == "True True"


def test_importing_the_target_imports_nothing_of_lava() -> None:
    code = (
        "import sys, dataclasses; before = dataclasses.dataclass\n"
        "import spikeproof_lava.target, spikeproof_lava.limits\n"
        "spikeproof_lava.target.LavaTarget()\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('lava', 'torch')],\n"
        "      dataclasses.dataclass is before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_limits_need_no_scipy() -> None:
    code = "import sys, spikeproof_lava.limits; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@needs_lava
@pytest.mark.lava
def test_shared_memory_carries_the_name_of_the_run(lava_script: Callable[[str], str]) -> None:
    out = lava_script("""
        from multiprocessing.shared_memory import SharedMemory
        memory = SharedMemory(create=True, size=16)
        print(memory.name)
        memory.close(); memory.unlink()
    """)
    assert out.startswith("spkptest-")
