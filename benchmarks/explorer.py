"""How soon the explorer answers while a chunk is being made: page to first frame, and key to preview over 200 keys.

    python benchmarks/explorer.py [--keys 200] [--json OUT]

Starts `mirage explore` as a user does, opens its page in a browser where there is one, then walks as a page does: each
key is pressed until its preview has come over the WebSocket, and let go for a moment. The bars are those of two cores:
10 s to the first frame, a preview after 100 ms at the median and 250 ms at the 95th percentile.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from statistics import median, quantiles

from websockets.sync.client import connect
from websockets.typing import Origin

KEYS = ("forward", "yaw", "right", "pitch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    with server() as (url, started):
        first = first_frame(url)
        measured = latencies(url, asked.keys)
    made = {
        "server_start_seconds": round(started, 1),
        "page_to_first_frame_seconds": None if first is None else round(first, 2),
        **measured,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }
    print(json.dumps(made, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(made, indent=1))


@contextmanager
def server():
    """(address, seconds until it answered) of `mirage explore`."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "mirage", "explore", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            yield url, time.perf_counter() - began
        finally:
            process.terminate()


def first_frame(url: str) -> float | None:
    """Seconds from asking for the page to the first picture on it; None without a browser."""
    chromium = which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    flags = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=flags) as browser:
        page = browser.new_page()
        began = time.perf_counter()
        page.goto(url)
        page.wait_for_function("() => window.mirage?.view.drawn > 0", timeout=120_000)
        return time.perf_counter() - began


def latencies(url: str, count: int) -> dict[str, object]:
    """Milliseconds from a key to its preview, of keys that were pressed while a chunk was being made."""
    spent, making, chunks, number = [], False, 0, 0
    rng = random.Random(0)
    with connect(url.replace("http", "ws") + "live", max_size=None, origin=Origin(url.rstrip("/"))) as page:
        page.send(json.dumps({"session": None}))

        def until(wanted, seconds=120.0):
            nonlocal making, chunks
            ends = time.perf_counter() + seconds
            while time.perf_counter() < ends:
                try:
                    message = page.recv(timeout=max(0.0, ends - time.perf_counter()), decode=False)
                except TimeoutError:
                    return False
                header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
                if "n" in header:
                    page.send(json.dumps({"ack": header["n"]}))
                if header["kind"] in ("making", "at", "stopped", "error"):
                    chunks += making and header["kind"] == "at"
                    making = header["kind"] == "making"
                if wanted(header):
                    return True
            return False

        until(lambda header: header["kind"] == "cloud")
        page.send(json.dumps({"keys": {"n": number, "yaw": 1.0}}))
        until(lambda header: header["kind"] == "making")
        page.send(json.dumps({"keys": {"n": number}}))
        while len(spent) < count:
            if not making:  # a little walk, so that a chunk is made again
                number += 1
                page.send(json.dumps({"keys": {"n": number, "yaw": 1.0}}))
                until(lambda header: header["kind"] == "making", 10.0)
                page.send(json.dumps({"keys": {"n": number}}))
            until(lambda header: False, rng.uniform(0.05, 0.4))
            if not making:
                continue
            number += 1
            key = {rng.choice(KEYS): rng.choice((-1.0, 1.0))}
            began = time.perf_counter()
            page.send(json.dumps({"keys": {"n": number, **key}}))
            found = until(lambda header, at=number: header["kind"] == "preview" and header["key"] >= at, 20.0)
            spent.append(1000 * (time.perf_counter() - began))
            assert found, "a key was not answered within 20 s"
            page.send(json.dumps({"keys": {"n": number}}))
    cuts = quantiles(spent, n=20)
    return {
        "keys": len(spent),
        "chunks_made_meanwhile": chunks,
        "key_to_preview_ms": {
            "median": round(median(spent), 1),
            "p95": round(cuts[-1], 1),
            "most": round(max(spent), 1),
        },
    }


if __name__ == "__main__":
    main()
