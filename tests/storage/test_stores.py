"""What every store keeps: one order for all, nothing lost that was written, nothing half-written."""

import os
import subprocess
import sys
import time

import pytest

from autoprune.errors import InputError, StoreError
from autoprune.storage.journal import Journal
from autoprune.storage.registry import open_store
from autoprune.storage.urls import StorageUrl, redacted

CONTENT = {"key": "a", "value": 0.1 + 0.2, "text": "ä\n\\", "none": None, "list": [1, {"b": 2}]}


def said(facts):
    return [(fact.kind, fact.content) for fact in facts]


def test_facts_come_back_in_order_and_from_any_place_on(store):
    assert store.read() == []
    store.append([("first", CONTENT), ("second", {})])
    store.append([("third", {"n": 1})])
    facts = store.read()
    assert said(facts) == [("first", CONTENT), ("second", {}), ("third", {"n": 1})]
    assert [fact.number for fact in facts] == sorted({fact.number for fact in facts})
    assert store.read(facts[1].number) == facts[2:]
    assert store.read(facts[-1].number) == []
    assert all(abs(fact.at - time.time()) < 60 for fact in facts) and abs(store.now() - time.time()) < 60


@pytest.mark.parametrize("start", ["journal:", "sqlite:///"])
def test_looking_makes_nothing(tmp_path, start):
    with open_store(f"{start}{tmp_path / 'folder' / 'log'}", "s") as store:
        assert store.read() == [] and not list(tmp_path.iterdir())
        store.append([("first", {})])
        assert said(store.read()) == [("first", {})]


def test_studies_of_one_storage_are_apart(store, url):
    with open_store(url, "another/study of:the same") as other:
        store.append([("mine", {})])
        assert other.read() == []
        other.append([("yours", {})])
        assert said(other.read()) == [("yours", {})]
    assert said(store.read()) == [("mine", {})]


def test_processes_that_write_at_the_same_time_lose_nothing_and_all_read_one_order(store, url, request):
    command = [sys.executable, "-m", "tests.support.appending", url, request.node.name]
    writers = [subprocess.Popen([*command, f"w{n}", "25"]) for n in range(3)]
    seen, end = [], time.monotonic() + 100
    while any(writer.poll() is None for writer in writers) and time.monotonic() < end:
        seen += store.read(seen[-1].number if seen else -1)  # what is read once stays before what comes later
    seen += store.read(seen[-1].number if seen else -1)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert seen == store.read() and len(seen) == 150
    for n in range(3):
        own = [fact.content["n"] for fact in seen if fact.content["who"] == f"w{n}"]
        assert own == [step / 2 for step in range(50)]


@pytest.mark.parametrize("place", ["ftp://x", "postgres:secret", "sqlite://", "journal:", ""])
def test_what_is_no_storage_is_refused_with_the_forms(place):
    with pytest.raises(InputError, match="journal:FILE"):
        StorageUrl.parse(place)


def test_passwords_are_never_repeated():
    url = StorageUrl.parse("postgresql+psycopg2://me:s3:c@ret@host:5432/db")
    assert str(url) == "postgresql+psycopg2://me:***@host:5432/db"
    assert url.without_password == "postgresql+psycopg2://me@host:5432/db"
    assert (
        redacted("cannot reach postgresql://a:b@c/d, nor e://f:g@h")
        == "cannot reach postgresql://a:***@c/d, nor e://f:***@h"
    )
    assert StorageUrl.parse("postgresql://me@host/db").place == "postgresql+psycopg2://me@host/db"


def test_a_journal_torn_at_any_byte_of_its_last_line_goes_on_without_it(tmp_path):
    whole = Journal(tmp_path / "log", "s")
    whole.append([("first", CONTENT)])
    kept = whole.path.stat().st_size
    whole.append([("second", {"n": 2})])
    content = whole.path.read_bytes()
    for size in range(kept + 1, len(content)):
        torn = Journal(tmp_path / f"log{size}", "s")
        torn.path.write_bytes(content[:size])
        assert said(torn.read()) == [("first", CONTENT)]
        torn.append([("third", {})])
        assert said(torn.read()) == [("first", CONTENT), ("third", {})]
        assert torn.path.with_name(f"{torn.path.name}.torn").read_bytes() == content[kept:size] + b"\n"


def test_a_damaged_line_within_a_journal_is_passed_over(tmp_path):
    journal = Journal(tmp_path / "log", "s")
    journal.append([("first", {})])
    with journal.path.open("ab") as stream:
        stream.write(b'{"at": 1, "kind"\n\x00\xff\n')
    journal.append([("second", {})])
    assert said(journal.read()) == [("first", {}), ("second", {})]


def test_a_journal_that_cannot_be_written_is_refused_when_it_is_opened(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="is a folder; a journal is a file"):
        Journal(tmp_path, "s")
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)  # root may write everywhere
    with pytest.raises(StoreError, match=r"^cannot write "):
        Journal(tmp_path / "new" / "log", "s")


def test_a_full_disk_leaves_all_or_nothing_and_is_said_in_one_line(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "log", "s")
    journal.append([("first", {})])

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"^cannot use .*: No space left on device$"):
            journal.append([("second", {}), ("third", {})])
    assert said(journal.read()) == [("first", {})]
    journal.append([("fourth", {})])
    assert said(journal.read()) == [("first", {}), ("fourth", {})]


def test_a_writer_that_is_stopped_holds_nobody_up_for_ever(tmp_path, monkeypatch):
    from autoprune.storage import journal as module

    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    first, second = Journal(tmp_path / "log", "s"), Journal(tmp_path / "log", "s")
    first.append([("first", {})])
    with first._locked(), pytest.raises(StoreError, match="locked by another process"):
        second.append([("second", {})])
    second.append([("third", {})])
    assert said(first.read()) == [("first", {}), ("third", {})]


@pytest.mark.distributed
def test_a_wrong_password_and_a_server_that_is_gone_are_one_line_without_the_password(postgres):
    postgres.require_passwords("right-one")
    try:
        for url in (postgres.url, postgres.url.replace("@", ":wr0ng@")):
            with pytest.raises(StoreError) as caught:
                open_store(url, "s").read()
            assert "wr0ng" not in str(caught.value) and "\n" not in str(caught.value)
        os.environ["PGPASSWORD"] = "right-one"
        with open_store(postgres.url, "with a password of the environment") as store:
            store.append([("first", {})])
            assert len(store.read()) == 1
    finally:
        os.environ.pop("PGPASSWORD", None)
        postgres.trust_again()
    with pytest.raises(StoreError, match="cannot be used"):
        open_store("postgresql+psycopg2://me@127.0.0.1:1/db", "s").read()


@pytest.mark.distributed
def test_a_server_that_is_restarted_goes_on(postgres, request):
    with open_store(postgres.url, request.node.name) as store:
        store.append([("before", {})])
        postgres.stop("immediate")
        with pytest.raises(StoreError):
            store.append([("meanwhile", {})])
        postgres.start()
        store.append([("after", {})])
        assert said(store.read()) == [("before", {}), ("after", {})]
