"""The device's side of `paper_board`: answers what stands in a payload; fails on request."""

import base64
import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def fault(number: int) -> str:
    """What goes wrong at this request, if anything."""
    path = folder / "fault"
    wanted = json.loads(path.read_text()) if path.exists() else {"kind": "", "at": -1}
    return wanted["kind"] if number >= wanted["at"] >= 0 else ""


BLOCKS = {"negative": "-0.5", "zero": "0", "nan": "NaN", "infinite": "Infinity", "text": '"fast"', "true": "true"}


def answer(request: dict, kind: str) -> str | None:
    networks = [json.loads(base64.b64decode(payload))["ms"] for payload in request["time"]]
    if kind == "die":
        say('{"alive": [0, 1]}')
        print("the cable was pulled", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(600)
    if kind == "not-json":
        return "Segmentation fault"
    if kind == "list":
        return "[1, 2]"
    if kind == "few":
        networks = networks[:-1]
    if kind == "no-blocks":
        return '{"latency": 3}'
    if kind == "bad-alive":
        return '{"alive": "yes"}'
    if kind == "error":
        return '{"error": "out of memory\\non the board"}'
    if kind == "empty":
        return json.dumps({"blocks": [[] for _ in networks]})
    if kind == "half":  # a line that never ends
        sys.stdout.write('{"blocks": [[')
        sys.stdout.flush()
        time.sleep(600)
    energy = {"bad-energy": "[0.5, -1]", "few-energies": "[0.5]", "energy": "[0.5, null]"}.get(kind, "null")
    blocks = [[json.dumps(ms)] * 5 for ms in networks]
    if kind in BLOCKS:
        blocks[-1][2] = BLOCKS[kind]
    lists = ", ".join(f"[{', '.join(each)}]" for each in blocks)
    return f'{{"blocks": [{lists}], "energy_mj": {energy}, "energy_source": "paper"}}'


def main() -> None:
    sys.stdin.readline()
    say('{"ready": {"device": "paper", "runtime": "formula 1"}}' if not fault(0) else "Welcome to the board!")
    requests = folder / "requests"
    while True:
        number = len(requests.read_text().splitlines()) + 1 if requests.exists() else 1
        if fault(number) == "deaf":
            time.sleep(600)
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        text = answer(request, fault(number))
        with requests.open("a") as lines:
            lines.write(f"{len(request['time'])}\n")
        say(text)


if __name__ == "__main__":
    main()
