"""The door: who may come in gets a session, and everything else passes through to that session's process."""

from __future__ import annotations

import asyncio
import html
import os
import secrets
import ssl
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
from aiohttp import web

from SpineSegLib.engine.errors import ComputeError, OutputError
from SpineSegLib.web.audit import Audit
from SpineSegLib.web.security import digest, owner, private_folder, read_tokens, response_headers
from SpineSegLib.web.sessions import KEY_HEADER, Session, Sessions
from SpineSegLib.web.settings import WebSettings

LOGIN_PAGE = Path(__file__).parent / "static" / "login.html"
PAGE = "/index.html?reconnect=auto"  # trame's page connects again by itself only when told so
LOCAL_NAMES = {"127.0.0.1", "localhost", "::1"}
MAX_MESSAGE = 4 * 2**20  # what the page sends at once; files come another way
TRIES_A_MINUTE = 10
COOKIE_SECONDS = 12 * 3600
IDLE_CHECK_SECONDS = 5
# headers of one connection only (RFC 9110, 7.6.1), and those that the gateway sets itself
_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "cookie", "server", "date"}


class Gateway:
    """A web server for `settings`, which must have passed their check."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        self.audit = Audit(private_folder(settings.store_folder) / "audit.jsonl")
        self.sessions = Sessions(settings, self.audit)
        self.key = None if settings.tokens else secrets.token_urlsafe(24)
        self._tokens = read_tokens(settings.tokens) if settings.tokens else {"local": digest(self.key)}
        self._failures: list[float] = []
        self._client: aiohttp.ClientSession | None = None
        self._port = settings.port

    def application(self) -> web.Application:
        """What answers requests."""
        application = web.Application(middlewares=[self._guard], client_max_size=2**20)
        application.router.add_get("/login", self._login_page)
        application.router.add_post("/login", self._login)
        application.router.add_post("/logout", self._logout)
        application.router.add_post("/paraview/", self._address)
        application.router.add_get("/alive", self._alive)
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        application.on_response_prepare.append(self._add_headers)
        return application

    async def serve(self, ready: asyncio.Future[str] | None = None) -> None:
        """Serve until cancelled; `ready` gets the address to open. Raises OutputError if the port is taken."""
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        watching = asyncio.create_task(self._watch())
        listener = None
        try:
            async with aiohttp.ClientSession(
                auto_decompress=False, timeout=aiohttp.ClientTimeout(None)
            ) as self._client:
                try:
                    await web.TCPSite(runner, self.settings.host, self.settings.port, ssl_context=self._ssl()).start()
                except OSError as error:
                    raise OutputError(
                        f"Port {self.settings.port} on {self.settings.host} can't be used"
                        f" ({os.strerror(error.errno or 0)}); choose another one with --port."
                    ) from None
                self._port = runner.addresses[0][1]
                if self.settings.dicom_port is not None:
                    from SpineSegLib.web.dicom_node import DicomNode

                    listener = DicomNode(self.settings, self.audit, self.sessions.queue)
                    listener.start()
                if ready is not None:
                    ready.set_result(self._link())
                await asyncio.Event().wait()
        finally:
            watching.cancel()
            if listener is not None:
                await listener.stop()
            await self.sessions.close_all()
            await runner.cleanup()

    def _link(self) -> str:
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        address = f"{'https' if self.settings.tls else 'http'}://{host}:{self._port}/"
        return address if self.key is None else f"{address}?key={self.key}"

    def _ssl(self) -> ssl.SSLContext | None:
        if not self.settings.tls:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.settings.certificate, self.settings.private_key)
        except OSError:
            raise OutputError(
                f"{self.settings.certificate} and {self.settings.private_key} are no certificate with its private key;"
                " give both in PEM format."
            ) from None
        return context

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_SECONDS)
            await self.sessions.close_idle()

    # --- who comes in -------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler) -> web.StreamResponse:
        """Refuse what another web page had this browser send: by another name of this computer, or from elsewhere."""
        if self.settings.loopback and request.url.host not in LOCAL_NAMES:
            raise web.HTTPMisdirectedRequest(text="This address is not served here.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{'https' if self.settings.tls else 'http'}://{request.host}":
            raise web.HTTPForbidden(text="Requests from other pages are refused.")
        return await handler(request)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        page = response.text if isinstance(response, web.Response) and response.content_type == "text/html" else ""
        response.headers.update(response_headers(request.host, self.settings.tls, page or ""))
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.pop("Server", None)

    @property
    def _cookie(self) -> str:
        # browsers give a cookie to all ports of a computer
        return f"spineseg_{self._port}"

    def _session(self, request: web.Request) -> Session | None:
        return self.sessions.find(request.cookies.get(self._cookie))

    async def _login_page(self, request: web.Request, problem: str = "", status: int = 200) -> web.Response:
        if not problem and "ended" in request.query:
            problem = "The session has ended: it was not used for long, or it was ended elsewhere. Enter to begin anew."
        page = LOGIN_PAGE.read_text(encoding="utf-8").replace("{problem}", html.escape(problem))
        return web.Response(text=page, content_type="text/html", status=status)

    async def _login(self, request: web.Request) -> web.Response:
        return await self._enter(request, str((await request.post()).get("token", "")))

    async def _enter(self, request: web.Request, token: str) -> web.Response:
        now = time.monotonic()
        self._failures = [moment for moment in self._failures if moment > now - 60]
        if len(self._failures) >= TRIES_A_MINUTE:
            return await self._login_page(request, "Too many wrong tokens; wait a minute.", 429)
        user = owner(token, self._tokens)
        if user is None:
            self._failures.append(now)
            self.audit.write("unknown", "refused: wrong token")
            return await self._login_page(request, "This token is not known; check it and try again.", 403)
        mine = self._session(request)
        if mine is not None and mine.user == user:  # the link again: a second session would take the first one's cookie
            return web.HTTPSeeOther(PAGE)
        try:
            cookie = await self.sessions.open(user)
        except ComputeError as error:
            return await self._login_page(request, str(error), 500)
        if cookie is None:
            return await self._login_page(request, "All sessions are taken; try again later.", 503)
        response = web.HTTPSeeOther(PAGE)
        response.set_cookie(
            self._cookie, cookie, max_age=COOKIE_SECONDS, httponly=True, samesite="Strict", secure=self.settings.tls
        )
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is not None:
            await self.sessions.close(session)
        response = web.HTTPSeeOther("/login")
        response.del_cookie(self._cookie)
        return response

    async def _alive(self, request: web.Request) -> web.Response:
        """Whether this browser's session is there; asking is no use of it."""
        if self._session(request) is None:
            raise web.HTTPUnauthorized
        return web.Response(status=204)

    async def _address(self, request: web.Request) -> web.Response:
        """Where the page finds its session: what trame's page asks for first."""
        if self._session(request) is None:
            raise web.HTTPUnauthorized
        return web.json_response({"sessionURL": f"{'wss' if self.settings.tls else 'ws'}://{request.host}/ws"})

    # --- everything else ----------------------------------------------------------------------------------------------

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/" and "key" in request.query:
            return await self._enter(request, request.query["key"])
        session = self._session(request)
        if session is None:
            raise web.HTTPSeeOther("/login") if request.path in ("/", "/index.html") else web.HTTPUnauthorized
        if request.path in ("/", "/index.html") and "reconnect" not in request.query:
            raise web.HTTPSeeOther(PAGE)
        session.last_seen = time.monotonic()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._tunnel(request, session)
        if request.method not in ("GET", "HEAD") and request.headers.get("Origin") is None:
            raise web.HTTPForbidden(text="Requests from other programs are refused.")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        try:
            async with self._client.request(
                request.method,
                self._inner(session, request),
                headers={**headers, KEY_HEADER: session.key},
                data=request.content if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                return await self._give(request, answer)
        except aiohttp.ClientConnectionError:
            raise web.HTTPBadGateway(text="The session has ended; load the page again.") from None

    async def _give(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        if answer.content_type == "text/html":
            headers.pop("Content-Length", None)
            headers.pop("Content-Type", None)
            text = await answer.text()
            return web.Response(text=text, content_type="text/html", status=answer.status)
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response

    def _inner(self, session: Session, request: web.Request) -> str:
        return f"http://127.0.0.1:{session.port}{request.raw_path}"

    async def _tunnel(self, request: web.Request, session: Session) -> web.WebSocketResponse:
        """Connect the page's socket with the session's until either side ends it."""
        outer = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, heartbeat=30, compress=False)
        try:
            inner = await self._client.ws_connect(
                self._inner(session, request), headers={KEY_HEADER: session.key}, max_msg_size=0
            )
        except aiohttp.ClientError:
            raise web.HTTPBadGateway(text="The session has ended; load the page again.") from None
        await outer.prepare(request)
        session.browsers += 1
        session.shown = True
        self.audit.write(session.user, "page opened")
        try:
            ways = [asyncio.create_task(_pump(outer, inner, session)), asyncio.create_task(_pump(inner, outer))]
            _, open_ways = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in open_ways:
                way.cancel()
        finally:
            session.browsers -= 1
            self.audit.write(session.user, "page closed")
            await inner.close()
            await outer.close()
        return outer


async def _pump(source, target, session: Session | None = None) -> None:
    """Send on what comes; messages of a browser count as use of its session."""
    with suppress(ConnectionError, aiohttp.ClientError):
        async for message in source:
            if session is not None:
                session.last_seen = time.monotonic()
            if message.type == aiohttp.WSMsgType.TEXT:
                await target.send_str(message.data)
            elif message.type == aiohttp.WSMsgType.BINARY:
                await target.send_bytes(message.data)
