"""The process of one session: the page's server on loopback, for the gateway only. Started by `sessions`."""

from __future__ import annotations

import asyncio
import hmac
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from trame.app import get_server

from SpineSegLib.web.control import Control
from SpineSegLib.web.page import Page
from SpineSegLib.web.sessions import KEY_HEADER

STATIC = {"spineseg": str(Path(__file__).parent / "static")}


def main() -> None:
    """Run until the gateway goes."""
    control = Control()
    sys.argv = sys.argv[:1]  # trame reads them
    server = get_server("spineseg", client_type="vue3")
    server.enable_module({"serve": STATIC, "scripts": ["spineseg/page.js"]})
    page = Page(server, control)

    @web.middleware
    async def require_key(request: web.Request, handler: Any) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get(KEY_HEADER, ""), control.settings["key"]):
            raise web.HTTPForbidden
        return await handler(request)

    def bind(web_server: Any) -> None:
        web_server.app.middlewares.append(require_key)
        web_server.app.add_routes(page.routes)

    async def end() -> None:
        await page.close()
        # The gateway may have been killed. What was uploaded goes in any case.
        shutil.rmtree(control.settings["folder"], ignore_errors=True)
        os._exit(0)  # an orderly end of VTK takes seconds

    def ready(**_: Any) -> None:
        ending: list[asyncio.Task] = []
        control.listen(lambda: ending.append(asyncio.create_task(end())))
        control.say(ready=server.port)
        page.open.begin()

    server.controller.on_server_bind.add(bind)
    server.controller.on_server_ready.add(ready)
    server.start(port=0, host="127.0.0.1", open_browser=False, show_connection_info=False, timeout=0)


if __name__ == "__main__":
    main()
