"""Workers of a study that are started in milliseconds, by a server that has torch imported, to be killed often."""

import multiprocessing
import time

from autoprune.errors import StoreError
from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.leasing import Leasing
from tests.support.stores import Slow

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def start(url, study, name, seconds, lease):
    process = _CONTEXT.Process(target=serve, args=(url, study, name, seconds, lease), daemon=True)
    process.start()
    return process


def serve(url, study, name, seconds, lease):
    """Until the search is over, through every loss of the connection; candidates take so many seconds."""
    board = leasing = None
    while board is None or not board.ended or leasing.undelivered:
        try:
            if board is None:
                board = Board(open_store(url, study))
                leasing = Leasing(board, Inline(Slow(seconds)), name, lease)
            if not leasing.turn():
                time.sleep(0.01)
        except StoreError:
            time.sleep(0.1)
