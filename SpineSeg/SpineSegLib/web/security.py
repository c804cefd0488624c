"""Who may come in, and what browsers are told so that a page can do no harm."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from pathlib import Path

from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.writing import as_output_error, atomic_output

# Vue compiles the page's templates in the browser, which needs unsafe-eval; Vuetify sets colours by inline styles.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' {socket}; worker-src 'self' blob:;"
    " manifest-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


def response_headers(host: str, tls: bool, html: str = "") -> dict[str, str]:
    """The headers of every answer; `host` as in the request; `html`: a page whose own inline scripts may run."""
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = _POLICY.format(
        hashes="".join(f" 'sha256-{digest}'" for digest in digests), socket=f"{'wss' if tls else 'ws'}://{host}"
    )
    headers = {**_HEADERS, "Content-Security-Policy": policy}
    if tls:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


def digest(token: str) -> str:
    """What is stored of a token. Tokens are random and long, so a plain hash can't be searched for them."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token(path: Path, name: str) -> str:
    """Give `name` a fresh token, which replaces an older one, and return it; the file gets only its hash.

    Raises InputError for a name that can't be one, OutputError if the file can't be written.
    """
    if not re.fullmatch(r"[\w.@-]{1,40}", name):
        raise InputError("A token's name has 1 to 40 letters, digits, '.', '-', '_' or '@'; choose such a name.")
    tokens = read_tokens(path) if path.exists() else {}
    token = secrets.token_urlsafe(32)
    tokens[name] = digest(token)
    with atomic_output(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(tokens, indent=2) + "\n", encoding="utf-8")
    return token


def read_tokens(path: Path) -> dict[str, str]:
    """Names and hashes of tokens. Raises InputError if the file isn't one of tokens."""
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
        if not tokens or not all(re.fullmatch("[0-9a-f]{64}", value) for value in tokens.values()):
            raise ValueError
    except (OSError, ValueError, AttributeError, TypeError):
        raise InputError(
            f"{path} holds no access tokens; make it with `spineseg web --tokens FILE --new-token NAME`."
        ) from None
    return tokens


def owner(token: str, tokens: dict[str, str]) -> str | None:
    """Whose token it is; None where it is nobody's. Takes the same time for each."""
    given = digest(token)
    found = [name for name, stored in tokens.items() if hmac.compare_digest(stored, given)]
    return found[0] if found else None


def private_folder(path: Path) -> Path:
    """Make a folder only this user can look into. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.name == "posix":
            path.chmod(0o700)
    except OSError as error:
        raise as_output_error(path, error) from None
    if not os.access(path, os.W_OK):
        raise OutputError(f"{path} can't be written because permission is missing; choose another place.")
    return path
