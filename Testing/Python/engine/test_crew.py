"""Jobs in processes of their own: shares of the machine, and processes that die."""

import multiprocessing
import os

import pytest
from crew_work import work
from SpineSegLib.engine import crew
from SpineSegLib.engine.crew import Died, Share, run_jobs, shares

ANYWHERE = Share(())


def test_results_of_all_jobs():
    places = [ANYWHERE, ANYWHERE]
    assert dict(run_jobs(work, [("square", n) for n in range(7)], places)) == {n: n * n for n in range(7)}
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_takes_only_its_job():
    jobs = [("square", 2), ("die", 3), ("square", 4), ("kill", 0), ("square", 5)]
    found = dict(run_jobs(work, jobs, [ANYWHERE]))
    assert (found[0], found[2], found[4]) == (4, 16, 25)
    assert found[1] == Died(3)
    assert isinstance(found[3], Died)


def test_errors_come_through_and_end_the_rest():
    with pytest.raises(ValueError, match="this one"):
        list(run_jobs(work, [("raise", "this one"), ("sleep", 60)], [ANYWHERE, ANYWHERE]))
    assert multiprocessing.active_children() == []


def test_leaving_ends_the_processes():
    results = run_jobs(work, [("square", 1), ("sleep", 60)], [ANYWHERE, ANYWHERE])
    assert next(results) == (0, 1)
    results.close()
    assert multiprocessing.active_children() == []


def test_each_process_has_its_share():
    places = [Share((), {"SPINESEG_TEST_PLACE": "here"})]
    assert dict(run_jobs(work, [("environment", "SPINESEG_TEST_PLACE")], places)) == {0: "here"}
    assert "SPINESEG_TEST_PLACE" not in os.environ


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux tells which cores a process may use")
def test_process_keeps_to_its_cores():
    core = min(os.sched_getaffinity(0))
    assert dict(run_jobs(work, [("cores", None)], [Share((core,))])) == {0: [core]}


@pytest.mark.parametrize(
    ("cores", "memory", "jobs", "gpus", "sizes"),
    [
        (8, 64, 10, 0, [2, 2, 2, 2]), (8, 64, 3, 0, [3, 3, 2]), (8, 4, 10, 0, [4, 4]), (1, 64, 5, 0, [1]),
        (8, 1, 5, 0, [8]), (8, 64, 10, 2, [4, 4]), (8, 64, 1, 2, [8]), (1, 64, 4, 2, [1, 1]),
    ],
)  # fmt: skip
def test_shares(monkeypatch, cores, memory, jobs, gpus, sizes):
    """Cores are divided among the processes; memory, jobs and GPUs limit how many there are."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(10, 10 + cores)), raising=False)
    monkeypatch.setattr(crew, "_memory", lambda: memory * 2**30)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = shares(jobs, gpus)
    assert [len(share.cores) for share in found] == sizes
    if cores >= len(found):
        assert sorted(core for share in found for core in share.cores) == list(range(10, 10 + cores))
    assert all(share.environment["OMP_NUM_THREADS"] == str(len(share.cores)) for share in found)
    visible = [share.environment.get("CUDA_VISIBLE_DEVICES") for share in found]
    assert visible == ([str(n) for n in range(len(found))] if gpus else [None] * len(found))


@pytest.mark.parametrize(("memory", "count"), [(64, 4), (5, 2)])
def test_a_process_for_every_core(monkeypatch, memory, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(crew, "_memory", lambda: memory * 2**30)
    assert len(shares(9, cores_each=1, memory_each=2**31)) == count
    assert len(shares(9, cores_each=1, memory_each=2**32)) == max(1, min(4, memory // 4))


def test_gpus_are_those_of_this_process(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert [share.environment["CUDA_VISIBLE_DEVICES"] for share in shares(4, 2)] == ["3", "5"]
