"""`spineseg web`: the same workflow in a browser."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
Without more it can be reached from this computer only, by the link it prints. For others to reach it, it needs TLS and
access tokens; a token is shown once and stored as a hash:
  spineseg web --tokens tokens.json --new-token anna
  spineseg web --host 0.0.0.0 --certificate cert.pem --private-key key.pem --tokens tokens.json
"""


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "web",
        parents=[common],
        help="segment, compare, correct and re-train in a browser",
        description="Serve SpineSeg's workflow as a web page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to serve on, 0 for a free one (default: 8080)")
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of cases that everybody may open")
    parser.add_argument("--open", metavar="CASE", help="case of that folder which a session begins with")
    parser.add_argument("--store", metavar="DIR", type=Path, help="folder for training cases and the audit log")
    parser.add_argument("--certificate", metavar="PEM", type=Path, help="TLS certificate with its chain")
    parser.add_argument("--private-key", metavar="PEM", type=Path, help="private key of the certificate")
    parser.add_argument("--tokens", metavar="FILE", type=Path, help="file of the access tokens' hashes")
    parser.add_argument("--new-token", metavar="NAME", help="make an access token for NAME, show it and stop")
    parser.add_argument("--sessions", metavar="N", type=int, default=4, help="people at once (default: 4)")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="computations at once (default: 1)")
    parser.add_argument("--upload-mb", metavar="MB", type=int, default=2048, help="largest upload (default: 2048)")
    parser.add_argument(
        "--idle-minutes", metavar="M", type=float, default=60, help="free sessions unused for so long (default: 60)"
    )
    dicom = parser.add_argument_group("a PACS", "CT sent here by C-STORE are segmented and the DICOM SEG sent back.")
    dicom.add_argument("--dicom-port", metavar="N", type=int, help="port to listen on for CT")
    dicom.add_argument("--dicom-host", metavar="HOST", default="127.0.0.1", help="address for it (default: 127.0.0.1)")
    dicom.add_argument("--dicom-title", metavar="TITLE", default="SPINESEG", help="its title (default: SPINESEG)")
    dicom.add_argument(
        "--dicom-from", metavar="TITLE@ADDRESS", action="append", default=[], help="from whom CT are taken; repeatable"
    )
    dicom.add_argument("--dicom-to", metavar="TITLE@HOST:PORT", help="where the segmentations are sent")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command with parsed options; see `add_parser`."""
    from SpineSegLib.engine.errors import InputError
    from SpineSegLib.web.security import new_token

    if options.new_token is not None:
        if options.tokens is None:
            raise InputError("A new token is stored in a file; name it with --tokens FILE.")
        print(f"Access token of {options.new_token}, shown this once: {new_token(options.tokens, options.new_token)}")
        return 0
    import asyncio

    settings = _settings(options)
    settings.check()
    try:
        import trame_slicer  # noqa: F401
    except ImportError:
        raise InputError("The web page needs trame-slicer; install it with `pip install 'spineseg[web]'`.") from None
    asyncio.run(_serve(settings, options.quiet))
    return 0


def _settings(options: argparse.Namespace):
    from SpineSegLib.engine.errors import InputError
    from SpineSegLib.web.settings import Peer, WebSettings

    if min(options.sessions, options.jobs, options.upload_mb) < 1 or options.idle_minutes <= 0:
        raise InputError("--sessions, --jobs, --upload-mb and --idle-minutes must be more than 0; correct them.")
    values = {name: getattr(options, name) for name in WebSettings.__dataclass_fields__}
    values["dicom_from"] = tuple(Peer.parse(text, with_port=False) for text in options.dicom_from)
    values["dicom_to"] = options.dicom_to and Peer.parse(options.dicom_to, with_port=True)
    return WebSettings(**values)


async def _serve(settings, quiet: bool) -> None:
    import asyncio

    from SpineSegLib.web.gateway import Gateway

    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(Gateway(settings).serve(ready))
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        print(f"SpineSeg is at {ready.result()}", flush=True)
        if not quiet:
            print("Stop it with Ctrl-C.", flush=True)
    await serving
