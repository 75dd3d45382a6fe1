"""Suites whose runs are computed by a Dask cluster or by SLURM, and what is said where that is not possible."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from urbankit import Run
from urbankit.bench import run_suite, slurm
from urbankit.bench.dask_cluster import DaskCluster
from urbankit.bench.executors import Elsewhere
from urbankit.bench.pool import Job
from urbankit.bench.slurm import Slurm
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress

QUIET = Progress(quiet=True)
SUITE = {"seeds": [0, 1], "runs": {"a": "cheap.yaml"}, "tables": {"all": {}}}


@pytest.fixture
def cluster() -> Iterator:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster


def test_a_dask_cluster_computes_the_runs_and_takes_up_that_of_a_killed_worker(cluster, suite_file, tmp_path):
    import distributed

    suite = suite_file(SUITE | {"overrides": {"pretrain.epochs": 60, "pretrain.patience": 0}})
    out, benches = tmp_path / "out", []
    bench = threading.Thread(
        target=lambda: benches.append(
            run_suite(suite, out, executor=DaskCluster(cluster.scheduler_address), progress=QUIET)
        )
    )
    bench.start()
    until(
        lambda: [
            path for path in out.glob("runs/*/manifest.json") if "inputs" in Run.open(path.parent).manifest["seconds"]
        ]
    )
    with distributed.Client(cluster.scheduler_address) as client:
        busy = next(worker for worker, tasks in client.processing().items() if tasks)
        os.kill(client.run(os.getpid, workers=[busy])[busy], signal.SIGKILL)
    bench.join(400)
    assert benches and not benches[0].failures
    runs = [Run.open(folder) for folder in sorted(out.glob("runs/*"))]
    assert [run.status for run in runs] == ["done", "done"]
    assert sum(run.manifest.get("resumed", 0) for run in runs) == 1
    assert set(benches[0].results["run_seed"].dropna()) == {0, 1}


def until(condition, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_submitit_computes_the_runs_and_a_repeated_command_nothing(suite_file, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(slurm, "EVERY", 0.2)
    suite, out = suite_file(SUITE | {"seeds": [0]}), tmp_path / "out"
    bench = run_suite(suite, out, executor=Slurm(out / "slurm", ["timeout_min=10"]), progress=QUIET)
    assert not bench.failures and len(bench.results)
    [folder] = out.glob("runs/*")
    finished = (folder / "manifest.json").stat().st_mtime_ns
    again = run_suite(suite, out, executor=Slurm(out / "slurm"), progress=QUIET)
    assert len(again.results) == len(bench.results)
    assert (folder / "manifest.json").stat().st_mtime_ns == finished


def test_a_job_of_slurm_that_is_lost_is_submitted_again(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    submitted = []

    def lost():
        raise submitit.core.utils.UncompletedJobError("the node failed")

    def submit(function):
        submitted.append(function)
        paths = SimpleNamespace(stderr="log")
        return SimpleNamespace(done=lambda: True, result=lost, job_id="7", paths=paths, cancel=lambda: None)

    fake = SimpleNamespace(batch=nullcontext, submit=submit, update_parameters=lambda **_: None)
    monkeypatch.setattr(submitit, "AutoExecutor", lambda *_, **__: fake)
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(slurm, "EVERY", 0.0)
    [outcome] = Slurm(tmp_path).run([Job("run", "name: a", tmp_path / "a", tmp_path / "a.log")], 0)
    assert len(submitted) == slurm.ATTEMPTS and outcome.died and outcome.resumable and "3 attempts" in outcome.errors[0]


def test_a_machine_that_lacks_the_folder_or_has_another_version_says_so(tmp_path):
    job = Job("run", "name: a", tmp_path / "a", tmp_path / "logs" / "a.log")
    assert "all machines share" in Elsewhere(job, tmp_path).compute().errors[0]
    assert "install the same" in Elsewhere(job, tmp_path, "0.0.1").compute().errors[0]
    job.log.parent.mkdir()
    assert Elsewhere(job, tmp_path).compute(stopping=lambda: True).interrupted


@pytest.mark.parametrize(
    ("options", "package", "message"),
    [
        (["--executor", "dask"], None, "--address"),
        (["--address", "tcp://127.0.0.1:1"], None, "--executor dask"),
        (["--executor", "dask", "--address", "tcp://127.0.0.1:1"], None, "no Dask scheduler answers"),
        (["--executor", "dask", "--address", "nowhere"], None, "no Dask scheduler answers"),
        (["--executor", "dask", "--address", "tcp://127.0.0.1:1"], "distributed", "urbankit[dask]"),
        (["--executor", "slurm"], "submitit", "urbankit[slurm]"),
        (["--executor", "slurm"], None, "sbatch"),
        (["--slurm", "partition=gpu"], None, "--executor slurm"),
    ],
)
def test_each_reason_why_an_executor_cannot_be_used_is_one_message(
    options, package, message, cli, suite_file, tmp_path, monkeypatch
):
    for name in ("distributed", "submitit"):
        if package != name:
            pytest.importorskip(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("urbankit.bench.dask_cluster.TIMEOUT", 1)
    if package is not None:
        monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "out"
    [error] = cli("bench", suite_file(SUITE), "--out", out, *options, status=2).errors
    assert message in error
    assert not out.exists()


def test_wrong_parameters_of_slurm_are_one_message(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    with pytest.raises(UserError, match="write it as key=value"):
        Slurm(tmp_path, ["partition"])
    with pytest.raises(UserError, match="--slurm"):
        next(Slurm(tmp_path, ["timeout_min=soon"]).run([], 0))
