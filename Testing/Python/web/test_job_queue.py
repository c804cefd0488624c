"""Turns in the order of asking."""

from __future__ import annotations

from SpineSegLib.web.job_queue import JobQueue


def told(at_once: int) -> tuple[JobQueue, list]:
    said = []
    return JobQueue(at_once, lambda who, position: said.append((who, position))), said


def test_one_computes_and_the_others_hear_their_place():
    queue, said = told(1)
    for who in "abc":
        queue.join(who)
    assert said == [("a", 0), ("b", 1), ("c", 2)]
    said.clear()
    queue.leave("a")
    assert said == [("b", 0), ("c", 1)]


def test_who_leaves_while_waiting_lets_only_those_behind_move_up():
    queue, said = told(1)
    for who in "abcd":
        queue.join(who)
    said.clear()
    queue.leave("c")
    assert said == [("d", 2)]
    assert "c" not in queue


def test_two_at_once_and_asking_twice_changes_nothing():
    queue, said = told(2)
    for who in "aabbcc":
        queue.join(who)
    assert said == [("a", 0), ("b", 0), ("c", 1)]
    said.clear()
    queue.leave("x")
    queue.leave("b")
    queue.leave("b")
    assert said == [("c", 0)]
    assert all(who in queue for who in "ac")
