"""What goes over the wire, byte by byte: the URLs that are asked for, and the heads of answers."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from engine.data.download.fetch import Body, Fetcher
from engine.data.download.headers import forbids, packing_of, robot_names, seconds_to_wait
from engine.data.download.heads import MAX_BYTES, Heads, HeadTooLongError, mend
from engine.data.download.outcome import Cause, Refusal
from engine.data.download.urls import parse

from .conftest import QUICK, Lists, Request, Server
from .wire import PICTURE, TEXT, answer, raw

OURS = robot_names(QUICK.user_agent)


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


# ---- URLs (signatures are over every byte) ----------------------------------------------------

SENT = [
    ("a%2Fb%2Bc%3D?Signature=a%2Fb%3D&k=%7e%41", "a%2Fb%2Bc%3D?Signature=a%2Fb%3D&k=%7e%41"),
    ("x?Policy=ab_-~*()'!$;,:@/?&e=a+b%20c", "x?Policy=ab_-~*()'!$;,:@/?&e=a+b%20c"),
    ("a b?c d", "a%20b?c%20d"),
    ("кот?q=ё", "%D0%BA%D0%BE%D1%82?q=%D1%91"),
    ("100%?p=%zz&q=%4&r=%", "100%25?p=%25zz&q=%254&r=%25"),
    ('<"{|}^`\\>', "%3C%22%7B%7C%7D%5E%60%5C%3E"),
    ("a\x01\x7f\tb", "a%01%7F%09b"),
    ("a#part?x", "a"),
    ("a?x=1#part", "a?x=1"),
    ("[1]?a[]=1", "[1]?a[]=1"),
    ("a//b/./c/../d/%2e%2e/e", "a//b/d/%2e%2e/e"),
    ("%d0%ba?%d0", "%d0%ba?%d0"),
    ("a?", "a"),
    ("😀", "%F0%9F%98%80"),
]  # fmt: skip


def test_urls_are_sent_as_they_are(server: Server, lists: Lists) -> None:
    for _, path in SENT:
        server.answers[path] = PICTURE
    lists.write({i: server.url(path) for i, (path, _) in enumerate(SENT)})
    assert lists.run().report["images"]["failed"] == 0
    assert dict(server.seen) == {path: 1 for _, path in SENT} | {"a": 2, "a?x=1": 1}


LOCATIONS = [
    (b"/s?Signature=a%2Fb%2Bc%3D", "s?Signature=a%2Fb%2Bc%3D"),
    (b"/caf\xe9?n=\xff", "caf%E9?n=%FF"),
    ("/кот".encode(), "%D0%BA%D0%BE%D1%82"),
    ("/кот".encode("cp1251"), "%EA%EE%F2"),
    (b"/a b%20c%", "a%20b%20c%25"),
    (b"rel/%2F?x#y", "from/rel/%2F?x"),
    (b"?only=%3D", "from/6?only=%3D"),
    (b"../up", "up"),
    (b"./", "from/"),
    (b"//127.0.0.1:PORT/net", "net"),
    (b"HTTP://127.0.0.1:PORT", ""),
    (b"http://u:p%40w@127.0.0.1:PORT/auth", "auth"),
]  # fmt: skip


def test_redirects_go_where_they_say(server: Server, lists: Lists) -> None:
    heads: dict[str, str] = {}

    async def seen(request: Request) -> None:
        heads[request.path] = request.head
        await request.send(PICTURE)

    for i, (location, path) in enumerate(LOCATIONS):
        target = location.replace(b"PORT", b"%d" % server.port)
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % target
        server.answers[f"from/{i}"] = raw(head)
        server.answers[path] = seen
    lists.write({i: server.url(f"from/{i}") for i in range(len(LOCATIONS))})
    assert lists.run().report["images"]["failed"] == 0
    assert set(heads) == {path for _, path in LOCATIONS}
    assert "Authorization: Basic dTpwQHc=" in heads["auth"]


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://ПРИМЕР.рф:80/", "http://xn--e1afmkfd.xn--p1ai/"),
        ("https://ex%41mple.com.:443", "https://example.com./"),
        ("http://user:a%2Fb@h:8080/x?#", "http://user:a%2Fb@h:8080/x"),
        ("http://пользователь:п@h/", "http://%D0%BF%D0%BE%D0%BB%D1%8C%D0%B7%D0%BE%D0%B2%D0%B0%D1%82"
         "%D0%B5%D0%BB%D1%8C:%D0%BF@h/"),
        ("http://[0:0:0:0:0:0:0:1]:8080/", "http://[::1]:8080/"),
        ("http://a_b.c/", "http://a_b.c/"),
        ("  http://h/x \n", "http://h/x"),
        ("http://h?q", "http://h/?q"),
        ("http://h:/x", "http://h/x"),
    ],
)  # fmt: skip
def test_hosts_and_users(url: str, wanted: str) -> None:
    assert str(parse(url)) == wanted


@pytest.mark.parametrize(
    "url",
    ["http://h\\x/", "http://h|x/", "http://%00/", "http://a%2Fb/", "http://%ff/", "http://[::1%25lo]/",
     "http://[1.2.3.4]/", "http://h:8o/", "http://h:-1/", "http://h:123456789012/", "http://u@/",
     "http://" + "a" * 300 + "/", "http:/x", "http:x", "1http://h/", "http://h/" + "a" * 70_000,
     "\ud800"],
)  # fmt: skip
def test_urls_that_are_none(url: str) -> None:
    found = parse(url, URL("http://base/") if url == "1http://h/" else None)
    assert isinstance(found, Refusal)
    assert found.kind == Cause.BAD_URL


SAFE = st.text("abcXYZ019-._~!$&'()*+,;=:@/", max_size=12)
PIECE = SAFE | st.integers(0, 255).map("%{:02x}".format) | st.integers(0, 255).map("%{:02X}".format)


@settings(max_examples=200)
@given(st.lists(PIECE).map("".join), st.lists(PIECE).map("".join))
def test_a_url_that_needs_no_escape_is_sent_unchanged(path: str, query: str) -> None:
    path = re.sub(r"/\.+", "/", f"/{path}")[1:]  # segments of dots alone are resolved
    found = parse(f"http://h/{path}?x{query}")
    assert isinstance(found, URL)
    assert found.raw_path_qs == f"/{path}?x{query}"
    again = parse(str(found))
    assert again == found


@settings(max_examples=200)
@given(TEXT)
def test_any_location_is_a_url_or_a_failure(text: str) -> None:
    base = URL("http://u:p@h/a/b?c", encoded=True)
    found = parse(text, base)
    if isinstance(found, URL):
        assert str(found).isascii()
        assert str(found).isprintable()
        assert " " not in str(found)
        assert parse(str(found)) == found


# ---- heads that browsers accept ---------------------------------------------------------------

LENGTH = b"Content-Length: %d" % len(PICTURE)
ACCEPTED = {
    "long header": answer(b"Set-Cookie: " + b"a" * 60_000),
    "long name": answer(b"X-" + b"a" * 9000 + b": 1"),
    "many headers": answer(*(b"X-%d: 1" % i for i in range(2000))),
    "equal lengths": answer(LENGTH),
    "equal lengths, other zeros": answer(b"content-length:0%d" % len(PICTURE)),
    "lengths in a list": answer(LENGTH + b", %d" % len(PICTURE), length=False),
    "three lengths": answer(LENGTH, LENGTH.upper()),
    "length and chunked": answer(b"Transfer-Encoding: chunked\r\nContent-Length: 5", length=False,
                                 body=chunked(PICTURE)),
    "chunked and length": answer(b"Content-Length: 5\r\nTransfer-Encoding: Chunked", length=False,
                                 body=chunked(PICTURE)),
    "lengths that differ and chunked": answer(
        b"Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked", length=False,
        body=chunked(PICTURE)),
    "chunked twice": answer(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                            length=False, body=chunked(PICTURE)),
    "identity and length": answer(b"Transfer-Encoding: identity"),
    "not a header": answer(b"this line is nothing"),
    "space in a name": answer(b"Foo Bar: 1"),
    "space before the colon": answer(b"X-Thing : 1"),
    "no name": answer(b": 1"),
    "folded": answer(b"X-Thing: a\r\n\tb"),
    "zero byte": answer(b"X-Thing: a\0b"),
    "not UTF-8": answer(b"X-Thing: caf\xe9", b"Server: \xff\xfe"),
    "line feeds": answer().replace(b"\r\n", b"\n", 2),
    "no reason": answer().replace(b" OK", b""),
    "version 2": answer().replace(b"HTTP/1.1", b"HTTP/2"),
    "small letters": answer().replace(b"HTTP", b"http"),
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(),
    "two early hints": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nL: x\r\n\r\n" + answer(),
    "blank lines first": b"\r\n\r\n" + answer(),
}  # fmt: skip
ENCODED = {
    "identity": answer(b"Content-Encoding: identity"),
    "empty": answer(b"Content-Encoding:"),
    "unknown": answer(b"Content-Encoding: utf-8"),
    "aws": answer(b"Content-Encoding: aws-chunked"),
    "binary, none": answer(b"Content-Encoding: binary, none"),
    "gzip and aws": answer(b"Content-Encoding: aws-chunked,gzip", body=gzip.compress(PICTURE)),
    "gzip, identity": answer(b"Content-Encoding: gzip, identity", body=gzip.compress(PICTURE)),
    "identity, X-GZIP": answer(b"content-encoding: identity, X-GZIP", body=gzip.compress(PICTURE)),
    "gzip twice": answer(b"Content-Encoding: gzip, gzip",
                         body=gzip.compress(gzip.compress(PICTURE))),
    "gzip said twice": answer(b"Content-Encoding: gzip\r\nContent-Encoding: gzip",
                              body=gzip.compress(PICTURE)),
    "deflate in gzip": answer(b"Content-Encoding: deflate, gzip",
                              body=gzip.compress(zlib.compress(PICTURE))),
    "gzip in deflate": answer(b"Content-Encoding: gzip\r\nContent-Encoding: deflate",
                              body=zlib.compress(gzip.compress(PICTURE))),
    "two members": answer(b"Content-Encoding: gzip",
                          body=gzip.compress(PICTURE[:500]) + gzip.compress(PICTURE[500:])),
    "members and rest": answer(b"Content-Encoding: gzip",
                               body=gzip.compress(PICTURE) + gzip.compress(b"") + bytes(512)),
    "not UTF-8": answer(b"Content-Encoding: caf\xe9"),
}  # fmt: skip
REFUSED = {
    "lengths that differ": (answer(b"Content-Length: 7"), Cause.PROTOCOL),
    "two lengths in a list": (answer(b"Content-Length: 7, 8", length=False), Cause.PROTOCOL),
    "endless head": (b"HTTP/1.1 200 OK\r\n" + b"X: %s\r\n" % (b"a" * 1000) * 300, Cause.PROTOCOL),
    "one endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, Cause.PROTOCOL),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", Cause.PROTOCOL),
    "status of letters": (b"HTTP/1.1 abc OK\r\n\r\n", Cause.PROTOCOL),
    "a length of 40 digits": (answer(b"Content-Length: " + b"9" * 40, length=False),
                              Cause.TOO_LARGE),
    "brotli": (answer(b"Content-Encoding: br"), Cause.ENCODING),
    "zstd, gzip": (answer(b"Content-Encoding: zstd, gzip"), Cause.ENCODING),
    "gzip five times": (answer(b"Content-Encoding: gzip,gzip,gzip,gzip,gzip"), Cause.ENCODING),
    "not gzip": (answer(b"Content-Encoding: gzip"), Cause.ENCODING),
    "too many members": (answer(b"Content-Encoding: gzip", body=gzip.compress(b"") * 12_000),
                         Cause.ENCODING),
}  # fmt: skip


def test_what_browsers_accept(server: Server, lists: Lists) -> None:
    cases = {**ACCEPTED, **{f"coded {name}": data for name, data in ENCODED.items()}}
    paths = {f"{number}": data for number, data in enumerate(cases.values())}
    # Each whole, and cut into pieces within and behind its head.
    for path, data in paths.items():
        server.answers[path] = raw(data)
        server.answers[f"{path}/cut"] = raw(data[:9], data[9:40], data[40:130], data[130:])
    server.answers["close"] = raw(answer(b"Content-Length: x", length=False), close=True)
    lists.write({path: server.url(path) for path in server.answers if "/" not in path})
    assert _lost(lists) == {}
    lists.write({path: server.url(f"{path}/cut") for path in paths})
    lists.out = lists.folder / "cut"
    assert _lost(lists) == {}


def _lost(lists: Lists) -> dict[str, tuple[str, str]]:
    lists.run(replace(QUICK, retries=0, timeout=3))
    return lists.failures()


def test_what_browsers_refuse(server: Server, lists: Lists) -> None:
    server.answers = {name.replace(" ", "-"): raw(data) for name, (data, _) in REFUSED.items()}
    lists.write({name: server.url(name) for name in server.answers})
    lists.run(replace(QUICK, retries=0, timeout=3))
    found = {name: kind for name, (kind, _) in lists.failures().items()}
    assert found == {name.replace(" ", "-"): kind for name, (_, kind) in REFUSED.items()}


def test_a_mended_answer_is_the_last_of_its_connection(server: Server) -> None:
    """Whatever follows it was not asked for: nobody may smuggle an answer in."""

    async def run() -> list[object]:
        smuggled = answer(body=b"smuggled")
        server.answers["first"] = raw(answer(LENGTH) + smuggled)
        server.answers["second"] = b"asked for"
        found: list[object] = []
        async with Fetcher(QUICK) as fetcher:
            for path in ("first", "second"):
                found.append(await fetcher.get(URL(server.url(path)), 5))
        return found

    assert asyncio.run(run()) == [Body(PICTURE), Body(b"asked for")]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_heads_in_any_pieces(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(sorted(ACCEPTED.values())))
    cuts = sorted(data.draw(st.lists(st.integers(0, min(len(whole), 300)), max_size=5)))
    at_once, in_pieces = Heads(), Heads()
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join(map(in_pieces.feed, pieces)) == at_once.feed(whole)
    assert in_pieces.rest() == at_once.rest() == b""


@given(st.binary(max_size=300).map(lambda b: b"HTTP/1.1 200 OK\r\n" + b))
def test_any_bytes_may_stand_in_a_head(data: bytes) -> None:
    heads = Heads()
    for i in range(len(data)):
        heads.feed(data[i : i + 1])
    heads.rest()
    mended = mend(data + b"\r\n\r\n")
    assert mend(mended) == mended


def test_a_head_in_single_bytes_costs_linear_work() -> None:
    """Each byte is searched a few times at most."""
    heads = Heads()
    with pytest.raises(HeadTooLongError):
        for _ in range(MAX_BYTES + 1):
            heads.feed(b"HTTP/1.1 200 OK\r\nX: " if not heads._buffer else b"a")


# ---- what headers say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "forbidden"),
    [
        (["noai"], True), (["NoAI , nofollow"], True), (["nofollow,  NOIMAGEAI"], True),
        (["none"], True), (["all"], False), ([""], False), ([], False), (["noarchive"], False),
        (["googlebot: noindex"], False), (["GoogleBot:noindex, noai"], False),
        (["googlebot: noindex", "noai"], True), (["googlebot: noindex", "bingbot: none"], False),
        (["engine-download: noai"], True), (["Engine-Download : NoImageAI"], True),
        (["engine-download/1: noai"], True), (["engine-download: nofollow"], False),
        (["googlebot: noindex, engine-download: noai"], True), (["*: noai"], True),
        (["engine-download: nofollow, googlebot: noai"], False), (["noai, googlebot: all"], True),
        (["engine-download-image: noai"], False), (["otherbot: noindex, nofollow"], False),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], False), (["max-snippet: 5, noai"], True),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noimageindex"], True),
        (["max-image-preview: none"], False), (["noai; noimageai"], True), (["xnoai"], False),
        (["noai, caf\udce9"], True), (["caf\udce9: noai"], False), ([":noai"], False),
    ],
)  # fmt: skip
def test_rules_for_robots(values: list[str], forbidden: bool) -> None:
    assert forbids(values, OURS) == forbidden


@pytest.mark.parametrize(
    ("agent", "value", "forbidden"),
    [("mine/1.0", "mine: noai", True), ("mine/1.0", "engine-download: noai", True),
     ("Mozilla/5.0 (compatible; mine)", "mozilla: noai", True), ("", "*: noai", True),
     ("mine/1.0", "yours: noai", False)],
)  # fmt: skip
def test_a_robot_goes_by_its_user_agent(agent: str, value: str, forbidden: bool) -> None:
    assert forbids([value], robot_names(agent)) == forbidden


@given(st.lists(st.text(max_size=30)), st.text(max_size=20))
def test_any_header_is_read(values: list[str], agent: str) -> None:
    forbids(values, robot_names(agent))
    packing_of(values)
    for value in values:
        assert 0 <= seconds_to_wait(value) <= 86_400


def test_robots_over_the_wire(server: Server, lists: Lists) -> None:
    server.answers = {
        "ours": raw(answer(b"X-Robots-Tag: a: all", b"x-robots-tag: engine-download: noai")),
        "everyone": raw(answer(b"X-Robots-Tag: otherbot: all", b"X-Robots-Tag: noimageai")),
        "theirs": raw(answer(b"X-Robots-Tag: googlebot: noindex", b"X-Robots-Tag: bingbot: none")),
    }
    lists.write({name: server.url(name) for name in server.answers})
    lists.run()
    assert {i: kind for i, (kind, _) in lists.failures().items()} == {
        "ours": Cause.ROBOTS, "everyone": Cause.ROBOTS
    }  # fmt: skip
