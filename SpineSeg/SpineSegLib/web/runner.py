"""The one job a session runs at a time: when its turn has come, step by step, without holding up the page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from trame_server.utils.typed_state import TypedState

from SpineSegLib.engine.errors import SpineSegError

if TYPE_CHECKING:
    from SpineSegLib.web.page import Page

STEP_SECONDS = 0.05


class Run(Protocol):
    """What the scene layer's runs have in common."""

    running: bool
    state: str
    message: str

    def step(self) -> None: ...

    def cancel(self) -> None: ...


@dataclass
class RunnerState:
    """`kind` of job that runs or waits, empty where none does; `status` tells about the last one of `status_of`."""

    kind: str = ""
    percent: float = 0.0
    status: str = ""
    status_of: str = ""
    problem: str = ""


class Runner:
    """Panels start their jobs here; what it knows of them is in the page's state."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._run: Run | None = None
        self._task: asyncio.Task | None = None
        self._state = TypedState(page.server.state, RunnerState)
        self.names = self._state.name

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits for its turn."""
        return self._task is not None

    def start(
        self,
        kind: str,
        begin: Callable[[], Run],
        describe: Callable[[Any], tuple[float, str]],
        done: Callable[[Any], None],
    ) -> None:
        """Run a job: `begin` makes it when its turn has come, `describe` gives percent and a sentence after each step,
        `done` is called with a job that has come to an end, whatever its state."""
        if not self.busy:
            self._task = asyncio.create_task(self._whole(kind, begin, describe, done))

    def cancel(self) -> None:
        """Cancel the job, or stop waiting."""
        if self._run is not None:
            self._run.cancel()
        elif self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Cancel the job and wait until it has ended."""
        if (task := self._task) is not None:
            self.cancel()
            await task

    async def _whole(self, kind: str, begin, describe, done) -> None:
        data, page = self._state.data, self._page
        data.kind = data.status_of = kind
        data.percent, data.status, data.problem = 0.0, "Starting...", ""
        page.flush()
        try:
            async with page.control.turn(kind, self._wait):
                self._run = begin()
                while self._run.running:
                    self._run.step()
                    data.percent, data.status = describe(self._run)
                    page.flush()
                    await asyncio.sleep(STEP_SECONDS)
            page.control.audit(f"{kind} {self._run.state}")
            data.status = describe(self._run)[1]
            if self._run.state == "failed":
                data.problem, data.status = self._run.message, ""
            done(self._run)
        except SpineSegError as error:
            data.problem, data.status = str(error), ""
        except asyncio.CancelledError:
            data.status = "Cancelled while waiting."
        except Exception as error:
            logging.exception("job %s", kind)
            if self._run is not None:
                self._run.cancel()
            data.problem = f"An unexpected error ({type(error).__name__}) ended the job; try again or reload the page."
            data.status = ""
        finally:
            self._run = self._task = None
            data.kind = ""
            page.flush()
            page.workspace.tell()
            page.flush()

    def _wait(self, position: int) -> None:
        self._state.data.status = f"Waiting: {position} before you." if position else "Starting..."
        self._page.flush()
