"""Dialogs that would wait for a person: each is noted, and answered by what the test said before it came."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

PATIENCE = 5.0  # seconds that a dialog without an answer may stay


class UnansweredDialog(AssertionError):  # noqa: N818 (what it is called by tests)
    """A dialog asked something for which the test has no answer."""


@dataclass(frozen=True)
class ShownDialog:
    """A dialog that came: its kind ("information", "critical", "question", "file", "text"...) and what it said."""

    kind: str
    title: str
    text: str
    buttons: tuple[str, ...] = ()
    details: str = ""


class Dialogs:
    """What was shown, in order, and the answers that wait for questions."""

    def __init__(self) -> None:
        self.shown: list[ShownDialog] = []
        self.answers: deque[Any] = deque()

    def answer(self, *answers: Any) -> None:
        """Say what the coming dialogs are answered with.

        A button of message boxes ("Yes", "Cancel", or the label of a button of the module's own), True or False for
        other dialogs, a path (or "" for Cancel) for file dialogs, a text (or None) for input dialogs.
        """
        self.answers.extend(answers)

    def clear(self) -> None:
        self.shown.clear()
        self.answers.clear()

    def texts(self) -> list[str]:
        return [each.text for each in self.shown]

    def next_answer(self, dialog: ShownDialog) -> Any:
        self.shown.append(dialog)
        if not self.answers:
            raise UnansweredDialog(f"{dialog.kind} dialog without an answer: {dialog.title}: {dialog.text}")
        return self.answers.popleft()

    def message_box(self, box: QtWidgets.QMessageBox) -> int:
        """A modal message box; one that has a single button is acknowledged unless an answer was given."""
        icons = {
            QtWidgets.QMessageBox.Information: "information",
            QtWidgets.QMessageBox.Warning: "warning",
            QtWidgets.QMessageBox.Critical: "critical",
            QtWidgets.QMessageBox.Question: "question",
        }
        if not box.buttons():
            box.setStandardButtons(QtWidgets.QMessageBox.Ok)
        # Qt adds a button by itself that unfolds the details.
        labels = {each.text.replace("&", ""): each for each in box.buttons() if each.text != "Show Details..."}
        details = box.informativeText + box.detailedText
        title = box.windowTitle.strip()
        shown = ShownDialog(icons.get(box.property("icon"), "message"), title, box.text, tuple(labels), details)
        if len(labels) == 1:
            self.shown.append(shown)
            chosen = next(iter(labels))
        else:
            chosen = self.next_answer(shown)
        if chosen not in labels:
            raise UnansweredDialog(f"no button '{chosen}' among {list(labels)} in: {box.text}")
        button = labels[chosen]
        box.show()
        button.click()
        box.hide()
        standard = box.standardButton(button)
        return int(standard) if int(standard) else int(box.result())

    def static_message(self, kind: str, buttons: Any, title: str, text: str) -> QtWidgets.QMessageBox.StandardButton:
        wanted = QtWidgets.QMessageBox.StandardButton(int(buttons))
        labels = {each.name: each for each in QtWidgets.QMessageBox.StandardButton if each in wanted and each.value}
        shown = ShownDialog(kind, title, text, tuple(labels))
        if len(labels) == 1:
            self.shown.append(shown)
            return next(iter(labels.values()))
        chosen = self.next_answer(shown)
        if chosen not in labels:
            raise UnansweredDialog(f"no button '{chosen}' among {list(labels)} in: {text}")
        return labels[chosen]


DIALOGS = Dialogs()


def _static_message(kind: str, default: Any) -> Any:
    def show(parent: QtWidgets.QWidget | None, title: str, text: str, buttons: Any = default, *_: Any) -> Any:
        return DIALOGS.static_message(kind, buttons, title, text)

    return staticmethod(show)


def _static_file(caption: str) -> Any:
    def ask(parent: QtWidgets.QWidget | None = None, title: str = caption, *_: Any) -> str:
        answer = DIALOGS.next_answer(ShownDialog("file", title, caption))
        return "" if answer is None else str(answer)

    return staticmethod(ask)


def _ask_files(parent: QtWidgets.QWidget | None = None, title: str = "Open files", *_: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in DIALOGS.next_answer(ShownDialog("file", title, "Open files")) or ())


def _ask_text(parent: QtWidgets.QWidget | None, title: str, label: str, *_: Any) -> str:
    answer = DIALOGS.next_answer(ShownDialog("text", title, label))
    return "" if answer is None else answer


def _exec_dialog(self: QtWidgets.QDialog) -> int:
    """A dialog of a module's own: the answer is a function that works it, or whether it is accepted.

    Without an answer it must close itself (as `slicer.util.delayDisplay` does) within PATIENCE.
    """
    self.show()
    shown = ShownDialog("dialog", self.windowTitle, self.objectName)
    if DIALOGS.answers:
        answer = DIALOGS.next_answer(shown)
        act = (lambda: answer(self)) if callable(answer) else (self.accept if answer else self.reject)
        QtCore.QTimer.singleShot(0, act)
    else:
        DIALOGS.shown.append(shown)
    end = time.monotonic() + PATIENCE
    while shiboken6.isValid(self) and self.visible:
        # An event loop of its own would delete dialogs that were told deleteLater() before.
        QtCore.QCoreApplication.processEvents()
        time.sleep(0.002)
        if time.monotonic() > end:
            self.reject()
            raise UnansweredDialog(f"dialog without an answer: {shown.title}")
    return self.result() if shiboken6.isValid(self) else int(QtWidgets.QDialog.Rejected)


def adopt_dialogs() -> None:
    """From now on modal dialogs are noted and answered, in this process and for good."""
    box = QtWidgets.QMessageBox
    yes_no = box.Yes | box.No
    for kind, default in (("information", box.Ok), ("warning", box.Ok), ("critical", box.Ok), ("question", yes_no)):
        setattr(box, kind, _static_message(kind, default))
    box.exec = box.exec_ = lambda self: DIALOGS.message_box(self)
    QtWidgets.QDialog.exec = QtWidgets.QDialog.exec_ = _exec_dialog
    files = QtWidgets.QFileDialog
    files.getOpenFileName = _static_file("Open file")
    files.getSaveFileName = _static_file("Save file")
    files.getExistingDirectory = _static_file("Open folder")
    files.getOpenFileNames = staticmethod(_ask_files)
    QtWidgets.QInputDialog.getText = staticmethod(_ask_text)
