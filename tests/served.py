"""A server that runs in this process on a free port, with the tests' model, and its client."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from websockets.sync.client import connect

from mirage.serve.access import Access
from mirage.serve.app import Page, Served, create_app, run
from mirage.serve.sessions import Sessions
from mirage.serve.shelf import Shelf
from mirage.serve.worker import Worker


@dataclass
class Running:
    served: Served
    port: int

    def ask(self, path, data=None, headers=None, method=None):
        """(status, body, headers) of a request."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        opener = urllib.request.build_opener(_Stay)
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    def talk(self, **choices):
        """A WebSocket to the page's end."""
        return connect(f"ws://127.0.0.1:{self.port}/live", max_size=None, **choices)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args, **kwargs):
        return None


def unpacked(message: bytes):
    """(header, payload)."""
    size = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + size]), message[4 + size :]


@contextmanager
def serving(model, *, folder, talk=None, access=None, limit=4, upload=1 << 20, create=None) -> Iterator[Running]:
    """A server of one model, for as long as the block lasts. `create(served)`: another application than the core."""
    worker = Worker()
    served = Served(Sessions(model, worker, limit=limit), Shelf(limit=upload), access or Access())
    app = create(served) if create else create_app(served, page=Page(folder, talk) if talk else None)
    ready, began = threading.Event(), list[Any]()

    def note(port, stop):
        began.extend((port, stop))
        ready.set()

    thread = threading.Thread(target=run, args=(app, served), kwargs={"port": 0, "ready": note})
    thread.start()
    assert ready.wait(20)
    try:
        yield Running(served, began[0])
    finally:
        began[1]()
        thread.join(20)
        worker.close()
