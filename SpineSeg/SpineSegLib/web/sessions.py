"""The sessions of a server: each a process of its own with scene, worker and folder, so that none sees another's."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from SpineSegLib.engine.errors import ComputeError
from SpineSegLib.web.audit import Audit
from SpineSegLib.web.job_queue import JobQueue
from SpineSegLib.web.settings import WebSettings

START_SECONDS = 180  # a machine under load needs its time
END_SECONDS = 5
KEY_HEADER = "X-SpineSeg-Key"


class Session:
    """One session: `user` started it; `port` on loopback answers only who knows `key`; `browsers` are connected now.

    `shown`: a browser was connected at some time.
    """

    def __init__(self, user: str) -> None:
        self.user = user
        self.key = secrets.token_urlsafe(32)
        self.port = 0
        self.browsers = 0
        self.shown = False
        self.last_seen = time.monotonic()
        self.folder = Path(tempfile.mkdtemp(prefix="spineseg-web-"))
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self, settings: WebSettings, heard: Callable[[Session, dict[str, Any]], None]) -> None:
        """Start the process; `heard` gets what it says. Raises ComputeError where it doesn't come up."""
        package = Path(__file__).parents[2]
        environment = {**os.environ, "TMPDIR": str(self.folder), "TEMP": str(self.folder), "TMP": str(self.folder)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        with (self.folder / "session.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "SpineSegLib.web.session"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if settings.debug else log,
                env=environment,
            )
        self.tell(
            {
                "key": self.key,
                "folder": str(self.folder),
                "data": None if settings.data is None else str(settings.data.resolve()),
                "open": settings.open,
                "store": str(settings.store_folder),
                "upload_mb": settings.upload_mb,
            }
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                self.port = json.loads(await self._process.stdout.readline())["ready"]
        except (TimeoutError, ValueError):
            await self.end()
            raise ComputeError("A session could not be started; `spineseg web --debug` shows why.") from None
        self._listening = asyncio.create_task(self._listen(heard))

    def tell(self, message: dict[str, Any]) -> None:
        """Send the process a message."""
        if self.alive and not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def end(self) -> None:
        """End the process, politely first, and remove its folder with everything uploaded."""
        if self.alive:
            self._process.stdin.close()
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._listening is not None:
            self._listening.cancel()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def _listen(self, heard: Callable[[Session, dict[str, Any]], None]) -> None:
        while line := await self._process.stdout.readline():
            heard(self, json.loads(line))
        await self._process.wait()
        heard(self, {"ended": True})


class Sessions:
    """Starts sessions up to a limit, finds them by the secret in a browser's cookie, frees those nobody uses."""

    def __init__(self, settings: WebSettings, audit: Audit) -> None:
        self._settings = settings
        self._audit = audit
        self._by_cookie: dict[str, Session] = {}
        self.queue = JobQueue(settings.jobs, lambda session, position: session.tell({"position": position}))

    def find(self, cookie: str | None) -> Session | None:
        """The living session of a browser."""
        session = self._by_cookie.get(cookie or "")
        return session if session is not None and session.alive else None

    async def open(self, user: str) -> str | None:
        """A cookie for `user`: of a session of theirs that no browser shows, else a new one; None if none is free."""
        for cookie, session in list(self._by_cookie.items()):
            # one never shown is still on the way to the browser it was started for
            if session.user == user and session.alive and session.shown and not session.browsers:
                # an older browser's cookie ends here: nobody else comes back to it
                fresh = secrets.token_urlsafe(32)
                self._by_cookie[fresh] = self._by_cookie.pop(cookie)
                return fresh
        if len(self._by_cookie) >= self._settings.sessions:
            self._audit.write(user, "refused: all sessions are taken")
            return None
        cookie = secrets.token_urlsafe(32)
        session = Session(user)
        self._by_cookie[cookie] = session
        try:
            await session.start(self._settings, self._hear)
        except BaseException:
            self._by_cookie.pop(cookie, None)
            raise
        self._audit.write(user, "session started")
        return cookie

    async def close(self, session: Session) -> None:
        """End a session and free all it holds."""
        self.queue.leave(session)
        self._by_cookie = {cookie: other for cookie, other in self._by_cookie.items() if other is not session}
        await session.end()
        self._audit.write(session.user, "session ended")

    async def close_all(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(self.close(session) for session in list(self._by_cookie.values())))

    async def close_idle(self) -> None:
        """End the sessions that were not used for so long and compute nothing."""
        limit = time.monotonic() - 60 * self._settings.idle_minutes
        for session in list(self._by_cookie.values()):
            if session.port and session.last_seen < limit and session not in self.queue:
                await self.close(session)

    def _hear(self, session: Session, message: dict[str, Any]) -> None:
        if "job" in message:
            session.last_seen = time.monotonic()
            if message["job"] is None:
                self.queue.leave(session)
            else:
                self.queue.join(session)
        if "audit" in message:
            self._audit.write(session.user, message["audit"], **message.get("numbers", {}))
        if "ended" in message and session in self._by_cookie.values():
            asyncio.get_running_loop().create_task(self.close(session))
