"""A real Dask cluster, workers and runs that are killed: the result is the same byte for byte."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.errors import InputError, TargetError
from spikeproof.io.slices import open_samples
from spikeproof.jobs import cluster as module
from spikeproof.jobs.evaluate import Subject, evaluate
from spikeproof.jobs.items import Item
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner

dask = pytest.importorskip("dask", reason="needs Dask: spikeproof[cluster]")
distributed = pytest.importorskip("distributed", reason="needs Dask: spikeproof[cluster]")


@pytest.fixture(scope="module")
def made_cluster() -> Iterator[Any]:
    """Three worker processes with a thread each, restarted by their nannies when killed."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # deaths are what we are here for
    patience = dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 1,
            # On a busy machine a worker takes longer to start again than Dask waits for it.
            "distributed.deploy.lost-worker-timeout": "120s",
        }
    )
    with patience:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Dask's own start: ports, event loops
            made = distributed.LocalCluster(
                n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0"
            )
        yield made
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.close(timeout=10)


@pytest.fixture
def cluster(made_cluster: Any) -> Any:
    """The cluster with all its workers, whatever the test before has killed."""
    made_cluster.wait_for_workers(3, timeout=120)
    return made_cluster


@pytest.fixture
def many_images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path / "many.npz"
    np.savez(
        path, x=rng.integers(0, 256, (600, 1, 8, 8), dtype=np.uint8), y=rng.integers(0, 10, 600)
    )
    return path


def documents(text: str) -> str:
    """Return a printed document without what may differ between two runs."""
    document = json.loads(text)
    for key in ("seconds", "timing"):
        document.pop(key, None)
    return json.dumps(document)


def test_a_killed_worker_changes_no_byte(
    cluster: Any, tiny_bundle: Path, many_images: Path, tmp_path: Path
) -> None:
    from spikeproof.io.bundle import load_bundle

    network = load_bundle(tiny_bundle).network
    samples = open_samples(many_images, network.input_shape)
    subject = Subject(network, "reference", 1, trace=True)
    few = samples.first(64)
    evaluate(subject, few, Pool(), batch=2, trace=tmp_path / "alone.npz")
    victim = next(iter(cluster.workers.values())).pid
    killed: list[int] = []

    def kill(done: int, _: int) -> None:
        if done >= 16 and not killed:
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    with Pool(1, cluster.scheduler_address) as pool:
        found = evaluate(subject, few, pool, batch=2, trace=tmp_path / "shared.npz", progress=kill)
    assert killed and len(found.predictions) == 64
    assert (tmp_path / "shared.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()


def test_an_item_that_kills_every_worker_ends_the_run(cluster: Any) -> None:
    def work(_: Any, i: int) -> Any:
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"i": i}

    items = [Item(f"item {i}", work, (i,)) for i in range(6)]
    # Dask counts a death against all items that wait on the worker, so another may be named.
    named = pytest.raises(TargetError, match=r"the worker of item 'item \d' died 2 times")
    with Pool(1, cluster.scheduler_address) as pool, named:
        Runner(pool, None, 6).do(items, None)


SAMPLES = "[samples]\naccuracy = 24\ngaussian = 8\nfgsm = 8\npgd = 8\nstages = 8\nboundary = 8\n"
# Every worker that crafts images loads torch, for seconds: one does here, and none there.
ATTACKS = "gaussian = []\nfgsm = [8]\npgd = []\n"
NO_ATTACKS = "gaussian = []\nfgsm = []\npgd = []\n"


@pytest.mark.parametrize(
    ("attacks", "local"), [(ATTACKS, False), (NO_ATTACKS, True)], ids=["cluster", "two processes"]
)
def test_a_verification_is_the_same_wherever_it_is_done(
    attacks: str,
    local: bool,
    cluster: Any,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    config = tmp_path / "small.toml"
    config.write_text(f"{SAMPLES}[perturbations]\n{attacks}")
    args = [
        "verify",
        tiny_bundle,
        "--against",
        tiny_checkpoint,
        "--data",
        tiny_images,
        "--config",
        config,
        "--engine",
        "fast",
        "-o",
        tmp_path / "run",
        "--json",
        "-q",
    ]
    found = []
    for more in ([], ["--workers", "2"] if local else ["--cluster", cluster.scheduler_address]):
        capsys.readouterr()
        assert run([*map(str, args), *more]) == 3, "24 images with random labels show little"
        found.append(documents(capsys.readouterr().out))
    assert found[1] == found[0]


def test_nobody_at_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    for address in (dead, "nonsense", "foo://x:1"):
        start = time.monotonic()
        with pytest.raises(InputError, match="no Dask scheduler answers at"):
            Pool(1, address)
        assert time.monotonic() - start < module.CONNECT_SECONDS + 5


@pytest.fixture
def scheduler() -> Iterator[tuple[Any, str]]:
    """A scheduler without workers, in a process of its own."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--dashboard-address",
            ":0",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    line = next(line for line in process.stderr if "Scheduler at:" in line)
    yield process, line.split()[-1]
    process.kill()
    process.communicate()


def test_a_scheduler_without_workers(
    scheduler: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORKERS_SECONDS", 0.5)
    with pytest.raises(InputError, match=r"has had no workers for 0\.5 s"):
        Pool(1, scheduler[1])


def test_a_scheduler_that_dies_in_the_middle(scheduler: tuple[Any, str]) -> None:
    process, address = scheduler
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--death-timeout",
            "5",
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )

    def work(_: Any, i: int) -> Any:
        time.sleep(0.2)
        return {"i": i}

    done: list[int] = []
    try:
        lost = pytest.raises(TargetError, match="connection to the scheduler is lost")
        with Pool(1, address) as pool, lost:
            for found in pool.run([(i, Item(f"{i}", work, (i,))) for i in range(200)], None):
                done.append(found.index)
                if len(done) == 3:
                    process.kill()
    finally:
        worker.kill()
        worker.wait()
    assert 3 <= len(done) < 200


def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_been(
    tiny_bundle: Path, many_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seeded, but the moments fall where the machine's load puts them."""
    args = [
        "run",
        tiny_bundle,
        "--engine",
        "reference",
        "--data",
        many_images,
        "--batch",
        8,
        "--json",
        "--trace",
        tmp_path / "t.npz",
    ]
    words = list(map(str, args))
    assert run(words) == 0
    alone, trace = documents(capsys.readouterr().out), (tmp_path / "t.npz").read_bytes()
    (tmp_path / "t.npz").unlink()
    journal = tmp_path / "j" / "journal.jsonl"
    words += ["--journal", str(journal.parent)]
    rng, kills, sizes = random.Random(0), 0, [0]
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "spikeproof", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        more = sizes[-1] + rng.randrange(500, 4000)  # so many bytes further on
        while process.poll() is None and (not journal.exists() or journal.stat().st_size < more):
            time.sleep(0.002)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        sizes.append(journal.stat().st_size)
    assert kills == 3 and sizes == sorted(sizes), "each attempt was killed, and kept what it had"
    assert not (tmp_path / "t.npz").exists()
    capsys.readouterr()
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert "batches were taken from" in err
    assert documents(out) == alone
    assert (tmp_path / "t.npz").read_bytes() == trace
