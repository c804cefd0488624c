"""Parts that several panels draw alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trame.widgets.html import Div
from trame.widgets.vuetify3 import VAlert, VBtn, VProgressLinear
from trame_client.widgets.core import HtmlElement

from SpineSegLib.web.runner import RunnerState


class Svg(HtmlElement):
    """An SVG element; values in tuples are JavaScript."""

    def __init__(self, name: str, children: Any = None, **attributes: Any) -> None:
        super().__init__(name, children, **attributes)
        self._attr_names += [
            ("view_box", "viewBox"),
            *("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "points", "fill", "stroke", "role", "tabindex"),
            ("stroke_width", "stroke-width"),
            ("stroke_dasharray", "stroke-dasharray"),
            ("text_anchor", "text-anchor"),
            ("font_size", "font-size"),
        ]
        self._event_names += ["keydown"]


def draw_job(
    names: RunnerState, kind: str, title: str, possible: str, start: Callable[[], None], cancel: Callable
) -> None:
    """A button that starts a job and then cancels it, how far it is, and what went wrong.

    `possible`: JavaScript that says whether it can be started.
    """
    mine = f"{names.kind} === '{kind}'"
    VBtn(
        title,
        v_if=(f"!({mine})",),
        color="primary",
        block=True,
        classes="mt-2",
        disabled=(f"!!{names.kind} || !({possible})",),
        click=start,
    )
    VBtn("Cancel", v_if=(mine,), color="error", block=True, classes="mt-2", click=cancel)
    VProgressLinear(
        v_if=(mine,),
        model_value=(names.percent,),
        indeterminate=(f"{names.percent} === 0",),
        height=8,
        classes="mt-3",
        raw_attrs=[f'aria-label="{title}"'],
    )
    said = f"{names.status_of} === '{kind}'"
    Div(
        f"{{{{ {names.status} }}}}",
        v_if=(f"{said} && {names.status}",),
        classes="spineseg-hint mt-2",
        raw_attrs=["role='status'"],
    )
    VAlert(
        v_if=(f"{said} && {names.problem}",),
        text=(names.problem,),
        type="error",
        density="compact",
        variant="tonal",
        classes="mt-2",
    )
