"""A program that walks over HTTP: nothing of Mirage is needed where it runs, but for a server somewhere.

Run: mirage serve; python examples/13_api_client.py [ADDRESS] [PICTURE]
"""

import json
import sys
from pathlib import Path

import requests

address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860"
picture = {"file": Path(sys.argv[2]).read_bytes()} if len(sys.argv) > 2 else {"walk": (None, json.dumps({"scene": 3}))}


def ask(method: str, path: str, **body: object) -> requests.Response:
    """The answer; what is refused is one line of text."""
    answer = requests.request(method, address + path, timeout=600, **body)  # pyright: ignore[reportArgumentType]
    if not answer.ok:
        raise SystemExit(f"{answer.status_code}: {answer.text}")
    return answer


here = "/sessions/" + ask("POST", "/sessions", files=picture).json()["session"]
for turn in (15.0, 15.0, -30.0):  # to the right, and back: the last step returns to what was seen
    made = ask("POST", here + "/step", json={"move": {"yaw": turn}, "frames": 8}).json()
    print(f"chunk {made['index']}: {made['coverage']:.0%} of its views were known")
Path("api_client.mp4").write_bytes(ask("GET", here + "/video").content)
other = "/sessions/" + ask("POST", here + "/branch").json()["session"]  # the two go on apart
state = ask("POST", here + "/undo", json={"steps": 2}).json()
left = ask("POST", other + "/look", json={"move": {"yaw": -30.0}}).json()
print(f"undone to chunk {state['index']}; to the left of the other, {left['coverage']:.0%} is known")
Path("api_client.safetensors").write_bytes(ask("GET", other + "/world").content)  # for `mirage generate --world`
for session in (here, other):
    ask("DELETE", session)
