"""A server on a free port in this process, with a small model of random weights."""

import threading

import pytest

from mirage.serve.access import Access
from mirage.serve.app import Page, Served, create_app, run
from mirage.serve.sessions import Sessions
from mirage.serve.shelf import Shelf
from mirage.serve.worker import Worker
from served import Running


@pytest.fixture
def serve(model, tmp_path):
    """serve(page=..., access=..., limit=...) -> Running."""
    running: list = []

    def start(*, folder=tmp_path, talk=None, access=None, limit=4, upload=1 << 20, routers=()) -> Running:
        worker = Worker()
        served = Served(Sessions(model, worker, limit=limit), Shelf(limit=upload), access or Access())
        app = create_app(served, page=Page(folder, talk) if talk else None, routers=routers)
        ready, began = threading.Event(), []

        def note(port, stop):
            began.extend((port, stop))
            ready.set()

        thread = threading.Thread(target=run, args=(app,), kwargs={"port": 0, "ready": note})
        thread.start()
        assert ready.wait(20)
        running.append((began[1], thread, worker))
        return Running(served, began[0])

    yield start
    for stop, thread, worker in running:
        stop()
        thread.join(20)
        worker.close()
