"""What a server says once it listens: where, and what it means if that is beyond this machine."""

import sys
from collections.abc import Callable

from mirage.cli.arguments import Listening
from mirage.serve.access import Access


def said(asked: Listening, *, page: bool) -> Callable[[int, Callable[[], None]], None]:
    """For `mirage.serve.app.run`: prints the address. `page`: there is one to open, with the token."""

    def say(port: int, stop: Callable[[], None]) -> None:
        host = "127.0.0.1" if asked.host in ("0.0.0.0", "::") else asked.host
        token = "?token=TOKEN" if page and asked.token else ""
        print(f"http://{f'[{host}]' if ':' in host else host}:{port}/{token}", flush=True)
        if not Access(asked.host, asked.token).local:
            print(
                f"listening on {asked.host}: whoever has the token may use the model and see every walk, and whoever "
                "listens on the way can read it; put something that speaks TLS in front",
                file=sys.stderr,
                flush=True,
            )

    return say
