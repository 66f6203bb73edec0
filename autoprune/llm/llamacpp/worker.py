"""The process in which llama.cpp answers questions about one model. Talks JSON lines over its pipes; no torch.

First line: {"path": ..., "context": n, "threads": n, "fine": bool}, answered by {"ready": pid}. Then
{"prompt": ids, "predict": n, "likeliest": k} -> {"ids": [...], "likeliest": [[[id, log-probability], ...], ...]},
{"text": ...} -> {"tokens": [...]}, {"memory": true} -> {"peak_mb": ...}; or {"error": "..."}.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

from autoprune.foundations.user_code import described
from autoprune.hardware.sensors.counters import peak_memory_mb
from autoprune.llm.llamacpp.server import Server

__all__ = ["main"]


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    # What llama.cpp prints must not mix with the answers: file descriptor 1 becomes standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    try:
        hello = json.loads(sys.stdin.readline())
        server = Server(hello["path"], hello["context"], hello["threads"], fine=hello["fine"])
        _send(answers, {"ready": os.getpid()})
        for line in sys.stdin:
            _send(answers, _answer(server, json.loads(line)))
    except Exception as error:  # noqa: BLE001 - whatever is raised reaches the parent as one line
        _send(answers, {"error": described(error)})


def _answer(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    if "memory" in request:
        return {"peak_mb": peak_memory_mb()}
    if "text" in request:
        return {"tokens": server.tokens(request["text"])}
    found = server.complete(request["prompt"], request["predict"], likeliest=request["likeliest"])
    places = ((found["choices"][0].get("logprobs") or {}).get("content")) or []
    likeliest = [[[top["id"], top["logprob"]] for top in place["top_logprobs"]] for place in places]
    return {"ids": [place["id"] for place in places], "likeliest": likeliest}


def _send(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
