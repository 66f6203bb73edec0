"""A process that writes facts into a store, without torch: `appending URL STUDY NAME COUNT`."""

import sys

from autoprune.storage.registry import open_store


def append_many(url, study, name, count):
    with open_store(url, study) as store:
        for n in range(count):
            store.append([("row", {"who": name, "n": n}), ("row", {"who": name, "n": n + 0.5})])


if __name__ == "__main__":
    append_many(*sys.argv[1:4], int(sys.argv[4]))
