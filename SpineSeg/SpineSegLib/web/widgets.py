"""Parts that several panels draw alike. Arguments in tuples and those called `name` are JavaScript over the state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from trame.widgets.html import Div
from trame.widgets.vuetify3 import VAlert, VBtn, VProgressLinear, VSelect, VSwitch, VTextField
from trame_client.widgets.core import HtmlElement

from SpineSegLib.engine.errors import InputError
from SpineSegLib.web.runner import RunnerState

_COMPACT = {"density": "compact", "hide_details": True}
_SMALL = {"variant": "tonal", "size": "small"}


class Svg(HtmlElement):
    """An SVG element; values in tuples are JavaScript."""

    def __init__(self, name: str, children: Any = None, **attributes: Any) -> None:
        super().__init__(name, children, **attributes)
        self._attr_names += [
            ("view_box", "viewBox"),
            *("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "points", "fill", "stroke", "role", "tabindex"),
            ("stroke_dasharray", "stroke-dasharray"),
            ("text_anchor", "text-anchor"),
            ("font_size", "font-size"),
        ]
        self._event_names += [(f"arrow_{side}", f"keydown.arrow-{side}.prevent") for side in ("left", "right")]


def heading(text: str) -> None:
    """The title of a part of a panel."""
    Div(text, classes="text-subtitle-2 mt-2")


def hint(text: str, live: bool = False, **more: Any) -> None:
    """A sentence in small print; `live`: read aloud where it changes."""
    Div(text, classes="spineseg-hint mt-1", raw_attrs=["role='status'"] if live else [], **more)


def alert(name: str, kind: str = "error", **shown: Any) -> None:
    """A sentence that must not be missed; `shown`: when, else unless it is empty."""
    VAlert(text=(name,), type=kind, density="compact", variant="tonal", classes="mt-2", **(shown or {"v_if": (name,)}))


def switch(name: str, label: str, **more: Any) -> None:
    """A switch of the state variable `name`."""
    VSwitch(v_model=(name,), label=label, color="primary", **_COMPACT, **more)


def choice(name: str, items: str, label: str, **more: Any) -> None:
    """A choice of one of `items` for the state variable `name`."""
    VSelect(v_model=(name,), items=(items,), label=label, classes="mt-2", **_COMPACT, **more)


def number_field(name: str, label: str, low: float, high: float, step: float) -> None:
    """A number for the state variable `name`; see `number`."""
    VTextField(
        v_model_number=(name,),
        type="number",
        min=low,
        max=high,
        step=step,
        label=label,
        classes="mt-2",
        **_COMPACT,
    )


def number(value: Any, label: str, low: float, high: float) -> float:
    """What a browser sent for a number. Raises InputError where it is none between `low` and `high`."""
    good = isinstance(value, int | float) and math.isfinite(value) and low <= value <= high
    if not good:
        raise InputError(f"{label} must be a number from {low:g} to {high:g}; correct it.")
    return value


def button(text: str, **more: Any) -> None:
    """A button beside others."""
    VBtn(text, **_SMALL, **more)


def icon_button(icon: str, title: str | tuple[str], **more: Any) -> None:
    """A button without room for words: `title` tells what it does."""
    VBtn(icon=icon, variant="text", **({"size": "small"} | more), title=title)


def download_button(text: str, file: str, **more: Any) -> None:
    """A button that downloads `file`."""
    button(text, prepend_icon="mdi-download", href=f"download/{file}", raw_attrs=[f'download="{file}"'], **more)


def progress(shown: str, percent: str, waiting: str, title: str) -> None:
    """A bar while `shown`, without an end while `waiting`."""
    VProgressLinear(
        v_if=(shown,),
        model_value=(percent,),
        indeterminate=(waiting,),
        height=8,
        classes="mt-3",
        raw_attrs=[f'aria-label="{title}"'],
    )


def job(names: RunnerState, kind: str, title: str, possible: str, start: Callable[[], None], cancel: Callable) -> None:
    """A button that starts a job and then cancels it, how far it is, and what went wrong.

    `possible`: JavaScript that says whether it can be started.
    """
    mine, said = f"{names.kind} === '{kind}'", f"{names.status_of} === '{kind}'"
    shared = {"block": True, "classes": "mt-2"}
    disabled = f"!!{names.kind} || !({possible})"
    VBtn(title, v_if=(f"!({mine})",), color="primary", disabled=(disabled,), click=start, **shared)
    VBtn("Cancel", v_if=(mine,), color="error", click=cancel, **shared)
    progress(mine, names.percent, f"{names.percent} === 0", title)
    hint(f"{{{{ {names.status} }}}}", live=True, v_if=(f"{said} && {names.status}",))
    alert(names.problem, v_if=(f"{said} && {names.problem}",))
