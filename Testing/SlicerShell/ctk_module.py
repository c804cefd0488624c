"""The widgets of CTK (the Common Toolkit) that Slicer modules use, drawn with Qt's own widgets.

They have the properties, slots and signals that CTK declares to Qt, since these are what PythonQt shows; nothing more.
"""
# ruff: noqa: N801, N802, N815 (names are Slicer's)

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from .dialogs import DIALOGS
from .python_qt import CppProperty, cpp_class, cpp_property


class Folds:
    """For widgets that hide what they hold; also what comes later, since .ui files set `collapsed` before the rest."""

    _shown_when_open: tuple[QtWidgets.QWidget, ...] = ()

    def _fold(self, collapsed: bool) -> None:
        if collapsed:
            self._hide_contents()
        else:
            # What somebody else has hidden stays hidden.
            shown, self._shown_when_open = self._shown_when_open, ()
            for each in shown:
                each.show()
        self.updateGeometry()

    def _hide_contents(self) -> None:
        shown = tuple(each for each in self.children() if each.isWidgetType() and not each.isHidden())
        for each in shown:
            each.hide()
        self._shown_when_open += shown

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        if self.collapsed:
            self._hide_contents()

    def event(self, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.LayoutRequest and self.collapsed:
            self._hide_contents()
        return super().event(event)


@cpp_class
class ctkCollapsibleButton(Folds, QtWidgets.QAbstractButton):
    """A headline; a click on it folds away what its layout holds."""

    contentsCollapsed = Signal(bool)
    HEADER = 26  # pixels

    def __init__(self, *arguments: object) -> None:
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        super().__init__(arguments[-1] if arguments and not isinstance(arguments[-1], str) else None)
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self.HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._toggled)

    def _toggled(self, checked: bool) -> None:
        self._fold(not checked)
        self.contentsCollapsed.emit(not checked)

    collapsed = CppProperty(bool, lambda self: not self.isChecked(), lambda self, value: self.setCollapsed(value))
    contentsFrameShape = cpp_property(int, 0)
    collapsedHeight = cpp_property(int, 10)

    def setCollapsed(self, collapsed: bool) -> None:
        if not isinstance(collapsed, bool):
            raise AttributeError(f"Property 'collapsed' of type 'bool' does not accept {collapsed!r}")
        self.setChecked(not collapsed)

    def sizeHint(self) -> QtCore.QSize:
        inside = self.layout().totalSizeHint() if self.layout() is not None else QtCore.QSize(0, 0)
        height = self.HEADER if not self.isChecked() else max(inside.height(), self.HEADER)
        return QtCore.QSize(max(inside.width(), 120), height)

    def minimumSizeHint(self) -> QtCore.QSize:
        inside = self.layout().totalMinimumSize() if self.layout() is not None else QtCore.QSize(0, 0)
        height = self.HEADER if not self.isChecked() else max(inside.height(), self.HEADER)
        return QtCore.QSize(inside.width(), height)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < self.HEADER

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.rect.width(), self.HEADER - 2)
        palette = self.palette
        painter.fillRect(header, palette.color(QtGui.QPalette.ColorRole.Button).darker(106))
        arrow = QtWidgets.QStyleOption()
        arrow.rect = QtCore.QRect(6, 6, 12, 12)
        arrow.palette = palette
        shape = QtWidgets.QStyle.PE_IndicatorArrowDown if self.isChecked() else QtWidgets.QStyle.PE_IndicatorArrowRight
        QtWidgets.QApplication.style().drawPrimitive(shape, arrow, painter, self)
        painter.setPen(palette.color(QtGui.QPalette.ColorRole.ButtonText))
        painter.drawText(header.adjusted(24, 0, 0, 0), QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, self.text)
        painter.end()


@cpp_class
class ctkCollapsibleGroupBox(Folds, QtWidgets.QGroupBox):
    """A group box whose title folds it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(lambda checked: self._fold(not checked))

    collapsed = CppProperty(bool, lambda self: not self.isChecked(), lambda self, value: self.setCollapsed(value))
    collapsedHeight = cpp_property(int, 14)

    def setCollapsed(self, collapsed: bool) -> None:
        if not isinstance(collapsed, bool):
            raise AttributeError(f"Property 'collapsed' of type 'bool' does not accept {collapsed!r}")
        self.setChecked(not collapsed)

    def sizeHint(self) -> QtCore.QSize:
        hint = super().sizeHint()
        return hint if self.isChecked() else QtCore.QSize(hint.width(), 24)

    def minimumSizeHint(self) -> QtCore.QSize:
        hint = super().minimumSizeHint()
        return hint if self.isChecked() else QtCore.QSize(hint.width(), 24)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """As a group box, with an arrow where the check box is."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        option.subControls = QtWidgets.QStyle.SC_GroupBoxFrame | QtWidgets.QStyle.SC_GroupBoxLabel
        option.text = "     " + option.text
        painter.drawComplexControl(QtWidgets.QStyle.CC_GroupBox, option)
        arrow = QtWidgets.QStyleOption()
        arrow.rect = QtCore.QRect(8, 2, 12, 12)
        arrow.palette = option.palette
        shape = QtWidgets.QStyle.PE_IndicatorArrowDown if self.isChecked() else QtWidgets.QStyle.PE_IndicatorArrowRight
        painter.drawPrimitive(shape, arrow)
        painter.end()


@cpp_class
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box for one number."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    rangeChanged = Signal(float, float)
    _cpp_signals = {  # noqa: RUF012
        "rangeChanged(double,double)": "rangeChanged(double,double)",
    }
    STEPS = 10000

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, self.STEPS)
        self._box = QtWidgets.QDoubleSpinBox()
        self._box.setRange(0, 99)
        self._box.setKeyboardTracking(False)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self._slider.valueChanged.connect(self._slider_moved)
        self._box.valueChanged.connect(self._box_changed)

    def _slider_moved(self, position: int) -> None:
        low, high = self._box.minimum, self._box.maximum
        self._box.setValue(low + (high - low) * position / self.STEPS)

    def _box_changed(self, value: float) -> None:
        self._show_on_slider()
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def _show_on_slider(self) -> None:
        low, high = self._box.minimum, self._box.maximum
        was_blocked = self._slider.blockSignals(True)
        self._slider.setValue(round((self._box.value - low) / (high - low) * self.STEPS) if high > low else 0)
        self._slider.blockSignals(was_blocked)

    def _apply(self) -> None:
        self._box.setDecimals(self.decimals)
        self._box.setSingleStep(self.singleStep)
        self._box.setPrefix(self.prefix)
        self._box.setSuffix(self.suffix)
        self._box.setVisible(self.spinBoxVisible)
        self._show_on_slider()

    def _set_minimum(self, value: float) -> None:
        self._box.setMinimum(float(value))
        self._show_on_slider()
        self.rangeChanged.emit(self._box.minimum, self._box.maximum)

    def _set_maximum(self, value: float) -> None:
        self._box.setMaximum(float(value))
        self._show_on_slider()
        self.rangeChanged.emit(self._box.minimum, self._box.maximum)

    minimum = CppProperty(float, lambda self: self._box.minimum, _set_minimum)
    maximum = CppProperty(float, lambda self: self._box.maximum, _set_maximum)
    value = CppProperty(float, lambda self: self._box.value, lambda self, value: self.setValue(value))
    decimals = cpp_property(int, 2, _apply)
    singleStep = cpp_property(float, 1.0, _apply)
    pageStep = cpp_property(float, 10.0)
    tickInterval = cpp_property(float, 0.0)
    prefix = cpp_property(str, "", _apply)
    suffix = cpp_property(str, "", _apply)
    tracking = cpp_property(bool, True)
    spinBoxVisible = cpp_property(bool, True, _apply)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def reset(self) -> None:
        self._box.setValue(0)


class RangeBar(QtWidgets.QWidget):
    """Draws a range within its bounds, and lets the mouse move the nearer end."""

    moved = Signal(float, float)

    def __init__(self) -> None:
        super().__init__()
        self.ends = (0.0, 99.0)
        self.values = (33.0, 66.0)
        self.setMinimumHeight(18)
        self.setMinimumWidth(60)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)

    def _place(self, value: float) -> int:
        low, high = self.ends
        share = (value - low) / (high - low) if high > low else 0.0
        return round(8 + share * (self.rect.width() - 16))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        palette = QtWidgets.QApplication.palette(self)
        middle = self.rect.height() // 2
        painter.fillRect(8, middle - 2, self.rect.width() - 16, 4, palette.color(QtGui.QPalette.ColorRole.Mid))
        low, high = (self._place(each) for each in self.values)
        painter.fillRect(low, middle - 2, high - low, 4, palette.color(QtGui.QPalette.ColorRole.Highlight))
        for place in (low, high):
            painter.setBrush(palette.color(QtGui.QPalette.ColorRole.Button))
            painter.setPen(palette.color(QtGui.QPalette.ColorRole.Dark))
            painter.drawRoundedRect(place - 5, middle - 8, 10, 16, 2, 2)
        painter.end()

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        low, high = self.ends
        share = min(max((event.position().x() - 8) / max(self.rect.width() - 16, 1), 0), 1)
        value = low + share * (high - low)
        nearer = abs(value - self.values[0]) <= abs(value - self.values[1])
        self.moved.emit(*((value, self.values[1]) if nearer else (self.values[0], value)))

    mousePressEvent = mouseMoveEvent


@cpp_class
class ctkRangeWidget(QtWidgets.QWidget):
    """Two spin boxes and a slider with two handles: minimum <= minimumValue <= maximumValue <= maximum."""

    minimumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueChanged = Signal(float)
    maximumValueIsChanging = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._low, self._high, self._bar = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox(), RangeBar()
        for each in (self._low, self._high):
            each.setKeyboardTracking(False)
        row.addWidget(self._low)
        row.addWidget(self._bar, 1)
        row.addWidget(self._high)
        self._ends, self._values = (0.0, 99.0), (33.0, 66.0)
        self._show()
        self._low.valueChanged.connect(lambda value: self.setValues(value, self._values[1]))
        self._high.valueChanged.connect(lambda value: self.setValues(self._values[0], value))
        self._bar.moved.connect(self.setValues)

    def _show(self) -> None:
        for box, value in zip((self._low, self._high), self._values, strict=True):
            was_blocked = box.blockSignals(True)
            box.setDecimals(self.decimals)
            box.setSingleStep(self.singleStep)
            box.setPrefix(self.prefix)
            box.setSuffix(self.suffix)
            box.setRange(*self._ends)
            box.setValue(value)
            box.blockSignals(was_blocked)
        self._bar.ends, self._bar.values = self._ends, self._values
        self._bar.update()

    def _set_ends(self, low: float, high: float) -> None:
        if (low, high) != self._ends:
            self._ends = (low, high)
            self._show()
            self.rangeChanged.emit(low, high)
            self.setValues(*self._values)

    def _set_minimum(self, value: float) -> None:
        self._set_ends(float(value), max(float(value), self._ends[1]))

    def _set_maximum(self, value: float) -> None:
        self._set_ends(min(float(value), self._ends[0]), float(value))

    minimum = CppProperty(float, lambda self: self._ends[0], _set_minimum)
    maximum = CppProperty(float, lambda self: self._ends[1], _set_maximum)
    minimumValue = CppProperty(float, lambda self: self._values[0], lambda self, x: self.setMinimumValue(x))
    maximumValue = CppProperty(float, lambda self: self._values[1], lambda self, x: self.setMaximumValue(x))
    decimals = cpp_property(int, 2, _show)
    singleStep = cpp_property(float, 1.0, _show)
    prefix = cpp_property(str, "", _show)
    suffix = cpp_property(str, "", _show)
    tickInterval = cpp_property(float, 0.0)
    tracking = cpp_property(bool, True)
    symmetricMoves = cpp_property(bool, False)
    autoSpinBoxWidth = cpp_property(bool, True)

    def setRange(self, low: float, high: float) -> None:
        self._set_ends(*sorted((float(low), float(high))))

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(float(value), self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(float(value), self._values[0]), value)

    def setValues(self, low: float, high: float) -> None:
        low, high = (min(max(float(each), self._ends[0]), self._ends[1]) for each in sorted((low, high)))
        before = self._values
        if (low, high) == before:
            self._show()
            return
        self._values = (low, high)
        self._show()
        if low != before[0]:
            self.minimumValueIsChanging.emit(low)
            self.minimumValueChanged.emit(low)
        if high != before[1]:
            self.maximumValueIsChanging.emit(high)
            self.maximumValueChanged.emit(high)
        self.valuesChanged.emit(low, high)

    def reset(self) -> None:
        self.setValues(0, 0)


@cpp_class
class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A spin box for one number."""

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QDoubleSpinBox()
        row.addWidget(self._box)
        self._box.valueChanged.connect(self.valueChanged)
        self._box.editingFinished.connect(self.editingFinished)

    def _apply(self) -> None:
        self._box.setSingleStep(self.singleStep)
        self._box.setPrefix(self.prefix)
        self._box.setSuffix(self.suffix)

    def _set_decimals(self, count: int) -> None:
        self._box.setDecimals(count)
        self.decimalsChanged.emit(count)

    minimum = CppProperty(float, lambda self: self._box.minimum, lambda self, x: self._box.setMinimum(x))
    maximum = CppProperty(float, lambda self: self._box.maximum, lambda self, x: self._box.setMaximum(x))
    value = CppProperty(float, lambda self: self._box.value, lambda self, x: self.setValue(x))
    decimals = CppProperty(int, lambda self: self._box.decimals, _set_decimals)
    text = CppProperty(str, lambda self: self._box.text)
    cleanText = CppProperty(str, lambda self: self._box.cleanText)
    singleStep = cpp_property(float, 1.0, _apply)
    prefix = cpp_property(str, "", _apply)
    suffix = cpp_property(str, "", _apply)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def selectAll(self) -> None:
        self._box.selectAll()


@cpp_class
class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path and a button that asks for a file or folder."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    # QDir::Filter
    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x1, 0x2, 0x4, 0x8, 0x7
    Readable, Writable, Executable, Hidden, System = 0x10, 0x20, 0x40, 0x100, 0x200
    NoDot, NoDotDot, NoDotAndDotDot = 0x2000, 0x4000, 0x6000
    # QFileDialog::Option
    ShowDirsOnly, DontResolveSymlinks, DontConfirmOverwrite = 0x1, 0x2, 0x4

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._line, self._button = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._button.setText("...")
        row.addWidget(self._line, 1)
        row.addWidget(self._button)
        self._valid = False
        self._line.textChanged.connect(self._changed)
        self._button.clicked.connect(self.browse)

    def _changed(self, text: str) -> None:
        self.currentPathChanged.emit(text)
        valid = self._is_valid(text)
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)

    def _is_valid(self, text: str) -> bool:
        path = Path(text)
        exists = (self.filters & self.Files and path.is_file()) or (self.filters & self.Dirs and path.is_dir())
        return bool(text) and bool(exists or self.filters & self.Writable)

    def _show_button(self) -> None:
        self._button.setVisible(self.showBrowseButton)

    def _set_path(self, path: str) -> None:
        if not isinstance(path, str):
            raise AttributeError(f"Property 'currentPath' of type 'QString' does not accept {path!r}")
        self._line.setText(path)

    currentPath = CppProperty(str, lambda self: self._line.text, _set_path)
    filters = cpp_property(int, AllEntries | NoDotAndDotDot | Readable)
    options = cpp_property(int, 0)
    nameFilters = cpp_property("QStringList", ())
    settingKey = cpp_property(str, "")
    label = cpp_property(str, "")
    currentFileExtension = cpp_property(str, "")
    showBrowseButton = cpp_property(bool, True, _show_button)
    showHistoryButton = cpp_property(bool, True)

    def setCurrentPath(self, path: str) -> None:
        self._set_path(path)

    def addCurrentPathToHistory(self) -> None:
        """Remembers the path in the settings, under `settingKey`."""
        if self.settingKey and self._line.text:
            settings = QtCore.QSettings()
            settings.beginGroup("ctkPathLineEdit")
            known = [each for each in settings.value(self.settingKey) or [] if each != self._line.text]
            settings.setValue(self.settingKey, [self._line.text, *known])
            settings.endGroup()

    def browse(self) -> None:
        if self.filters & self.Files:
            dialog = QtWidgets.QFileDialog
            ask = dialog.getSaveFileName if self.filters & self.Writable else dialog.getOpenFileName
            chosen = ask(self, "Select a file", "", ";;".join(self.nameFilters))
        else:
            chosen = QtWidgets.QFileDialog.getExistingDirectory(self, "Select a folder", "")
        if chosen:
            self._line.setText(chosen)


@cpp_class
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another one."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton(".")
        row.addWidget(self._button)
        self._button.clicked.connect(self.browse)

    def _set_directory(self, folder: str) -> None:
        if not isinstance(folder, str):
            raise AttributeError(f"Property 'directory' of type 'QString' does not accept {folder!r}")
        if folder != self._button.text:
            self._button.setText(folder)
            self.directoryChanged.emit(folder)

    directory = CppProperty(str, lambda self: self._button.text, _set_directory)
    caption = cpp_property(str, "")

    def browse(self) -> None:
        chosen = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self._button.text)
        if chosen:
            self._set_directory(chosen)
            self.directorySelected.emit(chosen)


@cpp_class
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for «nothing chosen»."""

    defaultText = cpp_property(str, "", lambda self: self.setPlaceholderText(self.defaultText))
    forceDefault = cpp_property(bool, False)
    scrollWheelEffect = cpp_property(int, 1)


@cpp_class
class ctkCheckableComboBox(ctkComboBox):
    """A combo box whose items have check boxes."""

    checkedIndexesChanged = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.model().dataChanged.connect(lambda *_: self.checkedIndexesChanged.emit())

    def addItem(self, text: str, data: object = None) -> None:
        super().addItem(text, data)
        item = self.model().item(self.count - 1)
        item.setFlags(QtCore.Qt.ItemIsEnabled | QtCore.Qt.ItemIsUserCheckable)
        item.setData(QtCore.Qt.Unchecked, QtCore.Qt.CheckStateRole)

    def addItems(self, texts: list[str]) -> None:
        for each in texts:
            self.addItem(each)

    def checkableModel(self) -> QtCore.QAbstractItemModel:
        return self.model()

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        rows = (self.model().index(row, 0) for row in range(self.count))
        return [each for each in rows if self.checkState(each) == QtCore.Qt.Checked]

    def checkState(self, index: QtCore.QModelIndex) -> QtCore.Qt.CheckState:
        return QtCore.Qt.CheckState(self.model().data(index, QtCore.Qt.CheckStateRole))

    def setCheckState(self, index: QtCore.QModelIndex, state: QtCore.Qt.CheckState) -> None:
        self.model().setData(index, state, QtCore.Qt.CheckStateRole)


@cpp_class
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box."""

    indicatorIcon = CppProperty(QtGui.QIcon, lambda self: self.icon, lambda self, icon: self.setIcon(icon))


@cpp_class
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    collapsed = cpp_property(bool, True)
    showDetailsText = cpp_property(str, "Show details...")
    hideDetailsText = cpp_property(str, "Hide details.")

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(200, round(self.document.size.height()) + 4)


@cpp_class
class ctkMenuButton(QtWidgets.QPushButton):
    """A button with a menu at its side."""


@cpp_class
class ctkSearchBox(QtWidgets.QLineEdit):
    """A line to search by."""

    showSearchIcon = cpp_property(bool, False)


@cpp_class
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that may be told not to come again."""

    dontShowAgainVisible = cpp_property(bool, False)
    dontShowAgain = cpp_property(bool, False)
    dontShowAgainSettingsKey = cpp_property(str, "", lambda self: setattr(self, "dontShowAgainVisible", True))

    def exec(self) -> int:
        return DIALOGS.message_box(self)

    exec_ = exec


@cpp_class
class ctkWidgetsUtils(QtCore.QObject):
    """Pictures of widgets."""

    @staticmethod
    def grabWidget(widget: QtWidgets.QWidget, rectangle: QtCore.QRect | None = None) -> QtGui.QImage:
        return widget.grab(rectangle or QtCore.QRect(0, 0, -1, -1)).toImage()


WIDGETS = (
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkSliderWidget,
    ctkRangeWidget,
    ctkDoubleSpinBox,
    ctkPathLineEdit,
    ctkDirectoryButton,
    ctkComboBox,
    ctkCheckableComboBox,
    ctkCheckBox,
    ctkFittedTextBrowser,
    ctkMenuButton,
    ctkSearchBox,
    ctkMessageBox,
)


def make_module() -> ModuleType:
    """The module `ctk`."""
    module = ModuleType("ctk", "Slicer's `ctk` over PySide6")
    for cls in (*WIDGETS, ctkWidgetsUtils):
        setattr(module, cls.__name__, cls)
    return module
