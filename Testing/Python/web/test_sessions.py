"""A session's process: reachable only with its key, and gone with all it held when nobody uses it."""

from __future__ import annotations

import asyncio
import stat
import time

import pytest
from SpineSegLib.web.settings import WebSettings

pytest.importorskip("trame_slicer", reason="trame-slicer is needed for the web page: pip install 'spineseg[web]'")

import aiohttp
from SpineSegLib.web.audit import Audit
from SpineSegLib.web.sessions import KEY_HEADER, Sessions


def test_a_session_answers_only_its_gateway_and_leaves_nothing_when_idle(tmp_path):
    settings = WebSettings(store=tmp_path, sessions=1, idle_minutes=1)

    async def ask(session, path, **headers):
        address = f"http://127.0.0.1:{session.port}{path}"
        async with aiohttp.ClientSession() as client, client.get(address, headers=headers) as answer:
            return answer.status

    async def go():
        sessions = Sessions(settings, Audit(tmp_path / "audit.jsonl"))
        cookie = await sessions.open("anna")
        session = sessions.find(cookie)
        folder = session.folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in ("/index.html", "/download/spine.dcm", "/ws"):
            assert await ask(session, path) == await ask(session, path, **{KEY_HEADER: "guess"}) == 403
        assert await ask(session, "/index.html", **{KEY_HEADER: session.key}) == 200

        # another person finds no place; the same one comes back to the same session, with another cookie
        assert await sessions.open("ben") is None
        assert await sessions.open("anna") is None, "the first is still on the way to the browser it was started for"
        session.shown = True  # as the gateway notes it
        fresh = await sessions.open("anna")
        assert sessions.find(fresh) is session
        assert sessions.find(cookie) is None

        session.last_seen = time.monotonic() - 59
        await sessions.close_idle()
        assert session.alive
        session.last_seen = time.monotonic() - 61
        sessions.queue.join(session)
        await sessions.close_idle()
        assert session.alive, "what is computed isn't ended"
        sessions.queue.leave(session)
        await sessions.close_idle()
        assert not session.alive
        assert not folder.exists()
        assert sessions.find(fresh) is None

    asyncio.run(go())
