"""Who may come in, from where, and what the answers tell browsers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import socket
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ct_samples import assert_sentence
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.web.security import new_token, owner, read_tokens, response_headers
from SpineSegLib.web.settings import WebSettings

aiohttp = pytest.importorskip("aiohttp", reason="trame-slicer brings aiohttp")


@pytest.fixture
def files(tmp_path):
    """Settings with which a server may be reached by others."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    new_token(tmp_path / "tokens.json", "anna")
    return WebSettings(
        host="0.0.0.0",
        certificate=tmp_path / "cert.pem",
        private_key=tmp_path / "key.pem",
        tokens=tmp_path / "tokens.json",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_nothing_more(host):
    WebSettings(host=host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "spine.example.org", ""])
def test_other_addresses_need_certificate_and_tokens(files, host):
    replace(files, host=host).check()
    for lacking in ({"tokens": None}, {"certificate": None, "private_key": None}):
        with pytest.raises(InputError) as error:
            replace(files, host=host, **lacking).check()
        assert_sentence(error)


def test_half_a_certificate_and_files_that_are_not_there_are_refused(files, tmp_path):
    for wrong in ({"private_key": None}, {"certificate": tmp_path / "no"}, {"tokens": tmp_path / "no"}):
        with pytest.raises(InputError) as error:
            replace(files, **wrong).check()
        assert_sentence(error)


def test_a_token_opens_for_its_owner_and_is_stored_as_a_hash(tmp_path):
    path = tmp_path / "tokens.json"
    anna, ben = new_token(path, "anna"), new_token(path, "ben")
    assert path.stat().st_mode & 0o077 == 0
    assert anna not in path.read_text()
    assert json.loads(path.read_text())["anna"] == hashlib.sha256(anna.encode()).hexdigest()
    tokens = read_tokens(path)
    assert (owner(anna, tokens), owner(ben, tokens), owner("", tokens), owner(ben[:-1], tokens)) == (
        *("anna", "ben"),
        *(None, None),
    )
    new_token(path, "anna")
    assert owner(anna, read_tokens(path)) is None, "an old token no longer opens"


def test_names_and_files_that_are_no_tokens_are_refused(tmp_path):
    for name in ("", "a b", "../x", "x" * 41):
        with pytest.raises(InputError) as error:
            new_token(tmp_path / "tokens.json", name)
        assert_sentence(error)
    for text in ("", "{}", "[]", '{"anna": "secret"}', '{"anna": 3}'):
        (tmp_path / "tokens.json").write_text(text)
        with pytest.raises(InputError) as error:
            read_tokens(tmp_path / "tokens.json")
        assert_sentence(error)


def test_headers_allow_nothing_from_elsewhere():
    page = "<script src='x.js'></script><script>go()</script>"
    headers = response_headers("spine.example.org", tls=True, html=page)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    allowed = {"'self'", "'unsafe-eval'", "'unsafe-inline'", "data:", "blob:", "'none'", "wss://spine.example.org"}
    sources = {source for value in policy.values() for source in value.split()}
    assert {source for source in sources - allowed if not source.startswith("'sha256-")} == set()
    digest = base64.b64encode(hashlib.sha256(b"go()").digest()).decode()
    assert f"'sha256-{digest}'" in policy["script-src"]
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "Strict-Transport-Security" in headers
    assert "Strict-Transport-Security" not in response_headers("127.0.0.1:8080", tls=False)


# --- the door, without sessions behind it -----------------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path):
    """Ask a gateway of tmp_path, which nobody has a session at; gives status, headers and text."""
    from aiohttp.test_utils import TestClient, TestServer
    from SpineSegLib.web.gateway import Gateway

    token = new_token(tmp_path / "tokens.json", "anna")
    settings = WebSettings(store=tmp_path / "store", tokens=tmp_path / "tokens.json")

    def ask(*requests: dict) -> list[tuple[int, dict, str]]:
        async def go():
            async with TestClient(TestServer(Gateway(settings).application())) as client:
                answers = []
                for request in requests:
                    request = {"method": "GET", "path": "/", "allow_redirects": False} | request
                    answer = await client.request(**request)
                    answers.append((answer.status, dict(answer.headers), await answer.text()))
                return answers

        return asyncio.run(go())

    ask.token = token
    ask.log = lambda: [json.loads(line) for line in (tmp_path / "store" / "audit.jsonl").read_text().splitlines()]
    return ask


def test_without_a_session_there_is_only_the_login_page(ask):
    paths = [
        "/",
        "/index.html",
        "/ws",
        "/upload",
        "/download/spine.dcm",
        "/spineseg/page.js",
        "/alive",
        "/../../etc/passwd",
    ]
    answers = ask(*({"path": path} for path in paths), {"path": "/upload", "method": "POST"}, {"path": "/login"})
    assert [status for status, *_ in answers] == [303, 303, *[401] * 7, 200]
    assert answers[0][1]["Location"] == "/login"
    for _, headers, _ in answers:
        assert {"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options"} <= headers.keys()
        assert "aiohttp" not in headers.get("Server", "")
    assert "{problem}" not in answers[-1][2]


def test_requests_by_other_names_and_from_other_pages_are_refused(ask):
    answers = ask(
        {"headers": {"Host": "evil.example"}},
        {"headers": {"Host": "evil.example:8080"}, "path": "/login", "method": "POST"},
        {"headers": {"Origin": "http://evil.example"}, "path": "/login", "method": "POST", "data": {"token": "x"}},
        {"headers": {"Origin": "null"}, "path": "/login"},
    )
    assert [status for status, *_ in answers] == [421, 421, 403, 403]


def test_wrong_tokens_are_refused_counted_and_noted(ask):
    wrong = {"path": "/login", "method": "POST", "data": {"token": "<b>guess</b>"}}
    *answers, last = ask(*[wrong] * 10, {"path": "/", "params": {"key": ask.token}})
    assert {status for status, *_ in answers} == {403}
    assert last[0] == 429, "the right one as well, else guessing could go on"
    assert all("guess" not in text for *_, text in answers)
    log = ask.log()
    assert len(log) == 10
    assert {(line["user"], line["event"]) for line in log} == {("unknown", "refused: wrong token")}


def test_the_link_opened_again_stays_with_its_session(tmp_path):
    """Else the first tab's uploads would go to the second one's session, whose cookie took its place."""
    from aiohttp.test_utils import TestClient, TestServer
    from SpineSegLib.web.gateway import Gateway

    tokens = {name: new_token(tmp_path / "tokens.json", name) for name in ("anna", "ben")}
    gateway = Gateway(WebSettings(store=tmp_path / "store", tokens=tmp_path / "tokens.json"))
    opened = []

    async def open_session(user):
        opened.append(user)
        return str(len(opened))

    gateway.sessions.open = open_session
    gateway.sessions.find = lambda cookie: SimpleNamespace(user=opened[int(cookie) - 1]) if cookie else None

    async def go():
        async with TestClient(TestServer(gateway.application())) as client:
            answers = []
            for name in ("anna", "anna", "ben"):
                answer = await client.get("/", params={"key": tokens[name]}, allow_redirects=False)
                answers.append((answer.status, [cookie.value for cookie in client.session.cookie_jar]))
            return answers

    assert asyncio.run(go()) == [(303, ["1"]), (303, ["1"]), (303, ["2"])]
    assert opened == ["anna", "ben"]


def test_a_port_that_is_taken_is_said(tmp_path):
    from SpineSegLib.web.gateway import Gateway

    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = WebSettings(port=other.getsockname()[1], store=tmp_path)
        with pytest.raises(OutputError) as error:
            asyncio.run(asyncio.wait_for(Gateway(settings).serve(), 10))
    assert_sentence(error)


def test_tls_is_served_with_the_certificate_given(files, tmp_path):
    from SpineSegLib.web.gateway import Gateway

    openssl = shutil.which("openssl") or pytest.skip("openssl is needed to make a certificate")
    made = ("-keyout", files.private_key, "-out", files.certificate, "-days", "2", "-subj", "/CN=localhost")
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made], check=True, capture_output=True)

    async def go():
        ready = asyncio.get_running_loop().create_future()
        settings = replace(files, host="127.0.0.1", port=0, store=tmp_path / "store")
        serving = asyncio.create_task(Gateway(settings).serve(ready))
        address = await ready
        async with aiohttp.ClientSession() as client, client.get(f"{address}login", ssl=False) as answer:
            serving.cancel()
            return address, answer.status, answer.headers

    address, status, headers = asyncio.run(go())
    assert address.startswith("https://")
    assert "key=" not in address
    assert status == 200
    assert "wss://" in headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" in headers


def test_files_that_are_no_certificate_are_said(files, tmp_path):
    from SpineSegLib.web.gateway import Gateway

    with pytest.raises(OutputError) as error:
        asyncio.run(Gateway(replace(files, host="127.0.0.1", store=tmp_path / "store")).serve())
    assert_sentence(error)
