"""Section Input: which CT, where the result goes, which model, and what computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt

from SpineSegLib.engine.errors import SpineSegError
from SpineSegLib.engine.models.backends import choose_backend
from SpineSegLib.panel import installation
from SpineSegLib.panel.parameters import SpineSegParameterNode
from SpineSegLib.scene.volumes import ct_problem

if TYPE_CHECKING:
    from SpineSegLib.engine.models.model_catalogue import FoundModel

TITLES = {"openvino": "OpenVINO", "tensorflow": "TensorFlow", "torch": "PyTorch"}
WIDE = 32  # networks of at least this width take seconds a slice on a laptop's CPU


class InputSection:
    """`changed` is called when something was chosen that the parameter node doesn't know of (what is installed)."""

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui = ui
        self.parameters: SpineSegParameterNode | None = None
        self.models: list[FoundModel] = []
        self.lacking: list[str] = []
        self._card: Any = None  # the window with the model's card
        self._current = ""  # name of the model that is used where none was chosen
        self._changed = changed
        ui.modelSelector.connect("currentIndexChanged(int)", self._choose_model)
        ui.modelCardButton.connect("clicked(bool)", self._show_card)
        ui.installButton.connect("clicked(bool)", self._install)
        self.find_models()

    def find_models(self) -> None:
        """Look for models again: others may have come since. There are none to read before h5py is installed."""
        self.models = []
        self.lacking = installation.missing_to_segment()
        if not self.lacking:
            from SpineSegLib.engine.models.model_catalogue import find_models, resolve_model

            self.models = find_models()
            current = resolve_model()
            self._current = next((model.name for model in self.models if model.path == current), "")
        blocked = self.ui.modelSelector.blockSignals(True)
        self.ui.modelSelector.clear()
        for model in self.models:
            self.ui.modelSelector.addItem(model.name)
        self.ui.modelSelector.blockSignals(blocked)

    def update(self) -> None:
        """Show what the parameter node says."""
        ui, parameters = self.ui, self.parameters
        problem = ct_problem(parameters.inputVolume) if parameters.inputVolume else None
        ui.inputProblemLabel.text = problem or ""
        ui.inputProblemLabel.visible = problem is not None
        index = self._index(parameters.model)
        blocked = ui.modelSelector.blockSignals(True)
        ui.modelSelector.currentIndex = index
        ui.modelSelector.blockSignals(blocked)
        ui.modelCardButton.enabled = index >= 0 and self.models[index].info is not None
        ui.modelLabel.text = _described(self.models[index]) if index >= 0 else self.model_problem() or ""
        ui.deviceLabel.text = self._device_text()
        ui.installButton.visible = bool(self.lacking)

    def problem(self) -> str | None:
        """One sentence why nothing can be segmented now; None if it can, perhaps after installing what is missing."""
        parameters = self.parameters
        if parameters is None:
            return "The scene is closing; try again in a moment."
        return ct_problem(parameters.inputVolume) or self.model_problem()

    def model_problem(self) -> str | None:
        """One sentence why the chosen model can't be used, None if it can, perhaps after installing what is missing."""
        if self.lacking:
            return None
        index = self._index(self.parameters.model)
        if index < 0:
            return f"The model {self.parameters.model} is not on this computer; choose another one."
        return self.models[index].problem

    def model(self) -> FoundModel:
        """The chosen model."""
        return self.models[self._index(self.parameters.model)]

    def ready(self) -> bool:
        """Whether the network can run, after asking to install what is missing."""
        return not self.lacking or self._install()

    def _index(self, name: str) -> int:
        wanted = name or self._current
        return next((n for n, model in enumerate(self.models) if model.name == wanted), -1)

    def _choose_model(self, index: int) -> None:
        if self.parameters is not None and index >= 0:
            self.parameters.model = self.models[index].name

    def _show_card(self, _checked: bool = False) -> None:
        """What the model was trained and measured on, in a window of its own."""
        model = self.models[self._index(self.parameters.model)]
        card = model.path.with_name(f"{model.name}.md")
        self._card = qt.QTextBrowser()  # kept: Python's reference is all that holds a window without a parent
        self._card.setWindowTitle(f"{model.name} {model.info.version}")
        self._card.setOpenExternalLinks(True)
        self._card.setSearchPaths([str(card.parent)])  # for its pictures
        self._card.setMarkdown(card.read_text(encoding="utf-8") if card.is_file() else _short_card(model))
        self._card.resize(700, 700)
        self._card.show()

    def _install(self, _checked: bool = False) -> bool:
        done = installation.ask_to_install(installation.kit_for("segment"), "Segmenting")
        self.find_models()
        self._changed()
        return done

    def _device_text(self) -> str:
        if self.lacking:
            return "What runs the network is not installed in this Slicer yet."
        try:
            choice = choose_backend(self.parameters.device.value)
        except SpineSegError as error:
            return str(error)
        index = self._index(self.parameters.model)
        info = self.models[index].info if index >= 0 else None
        slow = choice.device == "cpu" and info is not None and info.architecture.width >= WIDE
        warning = " This model is slow on a CPU: expect minutes." if slow else ""
        return f"{choice.reason.replace(choice.backend, TITLES[choice.backend])}{warning}"


def _short_card(model: FoundModel) -> str:
    """For models that have no card of their own: what their file says."""
    info = model.info
    parent = f"Trained from {info.parent}." if info.parent else ""
    scores = "\n".join(f"- {name.replace('_', ' ')}: {value:.4g}" for name, value in info.metrics.items())
    return f"# {info.name} {info.version}\n\n{info.description}\n\n{parent}\n\n{scores}\n\nLicence: {info.licence}"


def _described(model: FoundModel) -> str:
    if model.info is None:
        return model.problem or ""
    info = model.info
    dice = info.metrics.get("validation_dice")
    parts = [f"version {info.version}", f"licence {info.licence or 'unknown'}"]
    parts.append("not measured" if dice is None else f"Dice {dice:.3f} on scans it did not learn from")
    return ", ".join(parts)[:1].upper() + ", ".join(parts)[1:] + ". Research use only."
