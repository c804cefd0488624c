"""Loads a network, and what else segmenting needs, before it is asked for."""

from __future__ import annotations

from typing import Any

from SpineSegLib.jobs import Check, Report, networks
from SpineSegLib.jobs import segment as _segment  # noqa: F401 - importing it is the work


def run(parameters: dict[str, Any], report: Report, check: Check) -> dict[str, Any]:
    """`model` (path), `device`, `backend`: as of "segment"."""
    network = networks.loaded_network(parameters["model"], parameters["device"], parameters["backend"])
    return {"backend": network.backend, "device": network.device, "reason": network.reason}
