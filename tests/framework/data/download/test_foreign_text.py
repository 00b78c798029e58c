"""Text that is not UTF-8, and passwords, in addresses and in the state."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given

from engine.data.download.outcome import Cause, Failed, Refusal, plain, without_password
from engine.data.download.shards import shard_paths
from engine.data.verify import verify
from engine.errors import DataError

from .conftest import QUICK, Lists, Server
from .wire import PICTURE, TEXT, answer, raw

# ---- foreign text in the state ----------------------------------------------------------------

FOREIGN = {
    "robots": answer(b"X-Robots-Tag: noai, caf\xe9\x1b[31m"),
    "coding": answer(b"Content-Encoding: br, \xff\xfe"),
    "coding2": answer(b"Content-Encoding: \xff\xfe, br"),
    "redirect": b"HTTP/1.1 302 F\xff\r\nLocation: ftp\xe9://caf\xe9/\r\nContent-Length: 0\r\n\r\n",
    "host": b"HTTP/1.1 302 F\xff\r\nLocation: http://caf\xe9/\xe9\r\nContent-Length: 0\r\n\r\n",
    "reason": b"HTTP/1.1 404 Pas trouv\xe9\r\nContent-Length: 0\r\n\r\n",
    "retry": b"HTTP/1.1 404 Pas\r\nRetry-After: \xe9\r\nContent-Length: 0\r\n\r\n",
    "status": b"HTTP/1.1 \xe9\xe9\xe9 OK\r\n\r\n",
    "differ": answer(b"Content-Length: 7", b"X: caf\xe9"),
    "body": answer(body=b"<html>caf\xe9 \xed\xa0\x80"),
}


@pytest.mark.parametrize("kind", ["files", "webdataset"])
def test_bytes_that_are_not_utf8_cost_their_image_alone(
    server: Server, lists: Lists, kind: str
) -> None:
    server.answers = {name: raw(data, close=True) for name, data in FOREIGN.items()}
    server.answers["good"] = PICTURE
    lists.write({name: server.url(name) for name in server.answers})
    choices = replace(QUICK, retries=0, timeout=3, format=kind)  # type: ignore[arg-type]
    for again in (False, False, True):
        report = lists.run(choices, retry_failed=again).report
        assert report["images"] == {
            "listed": len(FOREIGN) + 1, "downloaded": 1, "failed": len(FOREIGN), "left": 0
        }  # fmt: skip
    failures = lists.failures()
    assert failures["robots"] == (Cause.ROBOTS, "noai, caf\ufffd [31m")
    for _, detail in failures.values():
        assert detail.isprintable()
    assert verify(lists.out).whole


def test_a_folder_whose_name_is_not_utf8(server: Server, lists: Lists) -> None:
    server.answers["1"] = PICTURE
    lists.write({1: server.url("1")})
    lists.out = lists.folder / os.fsdecode(b"caf\xe9")
    assert lists.run().report["images"]["downloaded"] == 1
    assert verify(lists.out).whole
    lists.out = lists.folder / os.fsdecode(b"\xff")
    assert lists.run(replace(QUICK, format="webdataset")).report["images"]["downloaded"] == 1
    assert verify(lists.out).whole
    with pytest.raises(DataError, match="begun otherwise"):
        lists.run(QUICK)


@given(TEXT)
def test_any_text_can_be_stored(text: str) -> None:
    lost = Failed(1, text, Refusal("x", text), 0)
    for stored in (lost.host, lost.failure.detail):
        assert stored.isprintable()
        assert len(stored) <= 300
    table = sqlite3.connect(":memory:")
    assert table.execute("SELECT ?", (lost.failure.detail,)).fetchone() == (lost.failure.detail,)
    table.close()


# ---- passwords --------------------------------------------------------------------------------

SECRET = "s3cr3t"


@pytest.mark.parametrize("kind", ["files", "webdataset"])
def test_passwords_stay_in_the_lists(
    server: Server, lists: Lists, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are sent, and kept for going on; nothing that is written for people holds them."""
    server.answers["good"] = PICTURE
    server.answers["away"] = raw(
        b"HTTP/1.1 302 Found\r\nLocation: ftp://user:%s@x/\r\nContent-Length: 0\r\n\r\n"
        % SECRET.encode()
    )
    server.answers["bad"] = raw(answer(b"Content-Length: 7"))
    host = f"user:{SECRET}@127.0.0.1"
    urls = {path: server.url(path, host) for path in ("good", "missing", "away", "bad")}
    urls |= {
        "port": f"http://user:{SECRET}@h:99999/", "space": f"http://user:{SECRET}@a b/",
        "slash": f"http://user:x/{SECRET}@h/", "hash": f"http://user:x#{SECRET}@h/",
        "scheme": f"ftp://user:{SECRET}@h/", "token": f"http://{SECRET}@h:0/",
        "refused": f"http://user:{SECRET}@127.0.0.1:1/",
    }  # fmt: skip
    lists.write(urls)
    choices = replace(QUICK, retries=0, format=kind)  # type: ignore[arg-type]
    report = lists.run(choices).report
    assert report["images"]["downloaded"] == 1
    assert SECRET not in json.dumps(report)
    for name, content in lists.content().items():
        assert SECRET.encode() not in content, name
    if kind == "webdataset":
        assert b"http://***@127.0.0.1" in shard_paths(lists.out, 0)[0].read_bytes()
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err
    assert verify(lists.out).whole
    server.answers["missing"] = PICTURE  # going on still knows the password
    assert lists.run(choices, retry_failed=True).report["images"]["downloaded"] == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@h/x", "http://***@h/x"), ("https://token@h", "https://***@h"),
        ("see //u:p@h", "see //u:p@h"), ("//u:p@h/", "//***@h/"), ("http://h/@me", "http://h/@me"),
        ("http://h:80/a@b", "http://h:80/a@b"), ("http://h//@me", "http://h//@me"),
        ("http://h/?u=http://a:b@c", "http://h/?u=http://***@c"), ("a@b", "a@b"),
        ("http://u:a/b@h/", "http://***@h/"), ("http://u:p@q@h", "http://***@h"),
    ],
)  # fmt: skip
def test_passwords_are_left_out(text: str, shown: str) -> None:
    assert without_password(text) == plain(text) == shown
