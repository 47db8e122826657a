"""A client of a server that runs in this process; the fixture that starts one is in serve/conftest.py."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass

from websockets.sync.client import connect

from mirage.serve.app import Served


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
