"""One thread, newest wish, cancelled between steps: each is a law of the order in which things are done."""

import gc
import threading
import weakref

import pytest

from mirage.serve.worker import Cancelled, Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


class Hold:
    """Work that the test lets go on."""

    def __init__(self):
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, check):
        self.began.set()
        while not self.go.wait(0.005):
            check(None)
        check(None)
        return "done"


def held(worker, key="a"):
    hold = Hold()
    future = worker.walk(key, hold)
    assert hold.began.wait(5)
    return hold, future


def test_the_newest_walk_of_a_session_replaces_the_one_that_waits(worker):
    hold, running = held(worker)
    old, new = worker.walk("a", lambda check: 1), worker.walk("a", lambda check: 2)
    with pytest.raises(Cancelled):
        old.result(5)
    hold.go.set()
    assert running.result(5) == "done"
    assert new.result(5) == 2


def test_who_asks_often_is_not_served_more(worker):
    hold, _ = held(worker)
    order = []
    worker.walk("a", lambda check: order.append("a"))
    last = worker.walk("b", lambda check: order.append("b"))
    newest = worker.walk("a", lambda check: order.append("a again"))
    hold.go.set()
    for future in (last, newest):
        future.result(5)
    assert order == ["a again", "b"]


def test_commands_go_before_walks_and_are_never_replaced(worker):
    hold, _ = held(worker)
    order = []
    walk = worker.walk("a", lambda check: order.append("walk"))
    commands = [worker.command("a", lambda n=n: order.append(n)) for n in range(3)]
    hold.go.set()
    for future in (*commands, walk):
        future.result(5)
    assert order == [0, 1, 2, "walk"]


def test_cancelling_ends_what_runs_and_drops_what_waits_of_that_session_alone(worker):
    _, running = held(worker)
    waiting, other = worker.walk("a", lambda check: 1), worker.walk("b", lambda check: 2)
    assert worker.busy("a")
    assert worker.cancel("a")
    for future in (running, waiting):
        with pytest.raises(Cancelled):
            future.result(5)
    assert other.result(5) == 2
    assert not worker.cancel("a")
    assert not worker.busy("a")


def test_what_fails_is_its_own(worker):
    def fail(check):
        raise RuntimeError("of no one else")

    with pytest.raises(RuntimeError, match="no one else"):
        worker.walk("a", fail).result(5)
    assert worker.walk("a", lambda check: 3).result(5) == 3


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
def test_what_a_walk_held_is_free_once_its_error_is_let_go(worker, ends):
    class Session:
        pass

    def walk():
        session, hold = Session(), Hold()

        def work(check, its=session):
            hold(check)
            raise RuntimeError("it failed")

        future = worker.walk("a", work)
        assert hold.began.wait(5)
        if ends == "cancelled":
            worker.cancel("a")
        hold.go.set()
        assert future.exception(5) is not None
        return weakref.ref(session)

    gc.disable()  # a ring would be found by it, some time
    try:
        session = walk()
        worker.command("b", lambda: None).result(5)  # the thread has gone on
        assert session() is None
    finally:
        gc.enable()


def test_a_closed_worker_takes_nothing_and_does_its_commands():
    worker = Worker()
    _, running = held(worker)
    done = worker.command("b", lambda: "kept")
    worker.close()
    with pytest.raises(Cancelled):
        running.result(5)
    assert done.result(5) == "kept"
    with pytest.raises(Cancelled):
        worker.walk("a", lambda check: 1)
