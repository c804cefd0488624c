"""The network works while its next input is prepared and its last answer is used, and stops when nobody wants it."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
from SpineSegLib.engine.conveyor import Conveyor, ahead

SOON = 10.0  # s; what takes longer hangs


class Slices:
    """Batches that hold nothing but the number of their first slice."""

    def batch(self, first, last):
        return np.full((last - first, 1, 2, 2), first, np.float32)


class Network:
    """Doubles what it gets, once it may; tells when it begins and in which thread it works."""

    def __init__(self, may=True):
        self.begun, self.may, self.threads, self.got = threading.Event(), threading.Event(), set(), []
        if may:
            self.may.set()

    def predict(self, batch):
        self.got.append(int(batch.flat[0]))
        self.threads.add(threading.current_thread())
        self.begun.set()
        assert self.may.wait(SOON)
        return 2 * batch


def test_answers_belong_to_their_questions_and_come_in_order():
    network = Network()
    with Conveyor(network) as conveyor:
        answers = [conveyor.predicted(conveyor.prepared(Slices(), n, n + 2)) for n in range(20)]
        assert [answer.result(SOON).shape for answer in answers] == [(2, 1, 2, 2)] * 20
        assert [int(answer.result().flat[0]) for answer in answers] == list(range(0, 40, 2))
    assert network.got == list(range(20))


def test_the_network_has_one_thread_and_it_is_not_the_callers():
    network = Network()
    with Conveyor(network) as conveyor:
        for answer in [conveyor.predicted(conveyor.prepared(Slices(), n, n + 1)) for n in range(5)]:
            answer.result(SOON)
    assert len(network.threads) == 1
    assert threading.current_thread() not in network.threads


def test_the_next_batch_is_prepared_while_the_network_works():
    network = Network(may=False)
    with Conveyor(network) as conveyor:
        conveyor.predicted(conveyor.prepared(Slices(), 0, 1))
        assert network.begun.wait(SOON)
        assert conveyor.prepared(Slices(), 7, 8).result(SOON).flat[0] == 7
        network.may.set()


def test_of_what_is_asked_for_only_what_has_begun_is_done():
    network = Network(may=False)
    before = threading.active_count()
    with Conveyor(network) as conveyor:
        first, *others = (conveyor.predicted(conveyor.prepared(Slices(), n, n + 1)) for n in range(5))
        assert network.begun.wait(SOON)
        # the network goes on as soon as all others are cancelled
        others[-1].add_done_callback(lambda _: network.may.set())
    assert threading.active_count() == before
    np.testing.assert_array_equal(first.result(), np.zeros((1, 1, 2, 2)))
    assert network.got == [0]
    assert all(other.cancelled() for other in others)


def test_a_network_that_waits_for_its_input_doesnt_keep_the_block_from_ending():
    before = threading.active_count()
    preparing = threading.Event()

    class Slow(Slices):
        def batch(self, first, last):
            preparing.set()
            assert leaving.wait(SOON)
            return super().batch(first, last)

    leaving = threading.Event()
    network = Network()
    with Conveyor(network) as conveyor:
        conveyor.prepared(Slow(), 0, 1)
        waiting = conveyor.predicted(conveyor.prepared(Slices(), 1, 2))
        conveyor.predicted(conveyor.prepared(Slices(), 2, 3)).add_done_callback(lambda _: leaving.set())
        assert preparing.wait(SOON)
    assert threading.active_count() == before
    assert network.got == []
    with pytest.raises(CancelledError):
        waiting.result()


@pytest.mark.parametrize("who", ["network", "slices"])
def test_errors_reach_who_asked(who):
    class Broken(Slices):
        def batch(self, first, last):
            raise MemoryError("slices")

    class Failing(Network):
        def predict(self, batch):
            raise MemoryError("network")

    conveyor = Conveyor(Failing() if who == "network" else Network())
    with conveyor, pytest.raises(MemoryError, match=who):
        conveyor.predicted(conveyor.prepared(Broken() if who == "slices" else Slices(), 0, 1)).result(SOON)


def test_ahead_takes_one_more_than_it_gives():
    taken = []
    giving = ahead(taken.append(n) or n for n in range(3))
    assert [(next(giving), list(taken)) for _ in range(3)] == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2])]
    assert list(giving) == list(ahead([])) == []
