"""Section Compare by its real buttons, on boxes whose overlap is known by counting."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
from panel_samples import add_volume

SPACING = (0.8, 0.8, 2.0)


def box(k, j, i):
    mask = np.zeros((12, 60, 60), np.uint8)
    mask[k, j, i] = 1
    return mask


PREDICTION = box(slice(2, 9), slice(20, 40), slice(20, 40))
REFERENCE = box(slice(2, 9), slice(20, 40), slice(24, 44))
PREDICTION[5, 20:30] = 0  # the worst slice


@pytest.fixture
def nodes(panel):
    """A CT and two segmentations of it, chosen in the panel."""
    import slicer

    image = sitk.GetImageFromArray(np.full(PREDICTION.shape, -1000, np.int16))
    image.SetSpacing(SPACING)
    volume = add_volume(image)
    made = []
    for name, mask in (("Prediction", PREDICTION), ("Reference", REFERENCE)):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment_id = node.GetSegmentation().AddEmptySegment("", "Vertebrae")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, volume)
        made.append(node)
    panel.enter()
    panel.ui.comparedSelector.setCurrentNode(made[0])
    panel.ui.referenceSelector.setCurrentNode(made[1])
    return made


def compare(panel, shell):
    assert panel.ui.compareButton.enabled, panel.ui.compareButton.toolTip
    panel.ui.compareButton.click()
    shell.wait_until(lambda: not panel.compareSection.running, seconds=60)
    assert panel.compareSection.run.state == "finished", panel.compareSection.run.message


def column(table, name):
    array = table.GetTable().GetColumnByName(name)
    return [array.GetValue(n) for n in range(array.GetNumberOfValues())]


def red_position():
    import slicer

    return slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS().GetElement(2, 3)


def test_metrics_and_slices(panel, shell, nodes):
    compare(panel, shell)
    both = np.count_nonzero(PREDICTION & REFERENCE)
    dice = 2 * both / (PREDICTION.sum() + REFERENCE.sum())
    metrics, slices = panel.compareSection._tables
    shown = dict(zip(column(metrics, "Metric"), column(metrics, "All"), strict=True))
    assert float(shown["Dice"]) == pytest.approx(dice, abs=1e-4)
    assert int(shown["True positives"]) == both
    assert column(slices, "S") == pytest.approx([k * SPACING[2] for k in range(2, 9)])
    areas = (PREDICTION.sum(axis=(1, 2)) * SPACING[0] * SPACING[1])[2:9]
    assert column(slices, "Area") == pytest.approx(areas.tolist())
    assert f"{dice:.3f}" in panel.ui.compareStatusLabel.text


def test_worst_slices_come_first_and_jump(panel, shell, nodes):
    compare(panel, shell)
    panel.ui.nextWorstButton.click()
    assert red_position() == pytest.approx(5 * SPACING[2])
    assert "1 of 7" in panel.ui.worstLabel.text
    assert not panel.ui.previousWorstButton.enabled
    panel.ui.nextWorstButton.click()
    assert red_position() != pytest.approx(5 * SPACING[2])


def test_a_click_on_a_row_jumps_there_also_when_sorted(panel, shell, nodes):
    compare(panel, shell)
    panel.ui.tableSelector.setCurrentIndex(1)
    view = panel.ui.comparisonTable
    header = view.horizontalHeader()
    header.sectionClicked.emit(1)  # by Dice, the worst first
    assert column(panel.compareSection._tables[1], "S")[0] == pytest.approx(5 * SPACING[2])
    header.sectionClicked.emit(0)
    header.sectionClicked.emit(0)  # from the head to the feet
    view.clicked.emit(view.model().index(0, 0))
    assert red_position() == pytest.approx(8 * SPACING[2])


def test_difference_segments(panel, shell, nodes):
    import slicer

    compare(panel, shell)
    panel.ui.differenceCheckBox.setChecked(True)
    node = slicer.util.getNode("Comparison differences")
    volume = slicer.util.getNode("CT")
    for name, expected in (("Missed", REFERENCE & ~PREDICTION & 1), ("Extra", PREDICTION & ~REFERENCE & 1)):
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, volume)
        assert (found == expected).all(), name
    panel.ui.differenceCheckBox.setChecked(False)
    assert not node.GetDisplayNode().GetVisibility()


def test_the_next_comparison_takes_the_old_differences_away(panel, shell, nodes):
    import slicer

    compare(panel, shell)
    panel.ui.differenceCheckBox.setChecked(True)
    shown = slicer.util.getNode("Comparison differences")
    assert shown.GetDisplayNode().GetVisibility()
    compare(panel, shell)
    assert not panel.ui.differenceCheckBox.checked
    assert not shown.GetDisplayNode().GetVisibility()


def test_the_table_stays_when_a_scene_is_imported(panel, shell, nodes):
    import slicer

    compare(panel, shell)
    table = panel.ui.comparisonTable.mrmlTableNode()
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    assert panel.ui.comparisonTable.mrmlTableNode() is table


def test_a_renamed_segment_is_offered_by_its_new_name(panel, nodes):
    selector = panel.ui.predictionSegmentSelector
    selector.setCurrentIndex(1)
    nodes[0].GetSegmentation().GetNthSegment(0).SetName("L3")
    panel.update()
    assert [selector.itemText(n) for n in range(selector.count)] == ["All segments", "L3"]
    assert selector.currentIndex == 1


def test_tables_are_exported_with_units(panel, shell, nodes, tmp_path):
    compare(panel, shell)
    shell.dialogs.answer(str(tmp_path / "study.csv"))
    panel.ui.exportTablesButton.click()
    rows = list(csv.reader((tmp_path / "study-slices.csv").open(encoding="utf-8")))
    assert rows[0][:4] == ["S (mm)", "Dice", "Area (mm²)", "Reference area (mm²)"]
    assert len(rows) == 1 + 7
    metrics = list(csv.reader((tmp_path / "study.csv").open(encoding="utf-8")))
    assert metrics[1][0] == "Dice"


def test_plots(panel, shell, nodes):
    import slicer

    compare(panel, shell)
    for index, name in enumerate(("Dice by slice", "Bland-Altman: area per slice")):
        panel.ui.plotSelector.setCurrentIndex(index)
        panel.ui.plotsButton.click()
        shown = slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()
        assert slicer.mrmlScene.GetNodeByID(shown).GetTitle() == name
    difference = (PREDICTION.sum(axis=(1, 2)) - REFERENCE.sum(axis=(1, 2)).astype(int))[2:9] * SPACING[0] * SPACING[1]
    bias = slicer.util.getNode("Bland-Altman bias").GetTable().GetColumnByName("Bias").GetValue(0)
    assert bias == pytest.approx(difference.mean())


def test_a_second_comparison_takes_the_place_of_the_first(panel, shell, nodes):
    import slicer

    compare(panel, shell)
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    compare(panel, shell)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == count


def test_nothing_to_compare_is_said(panel, nodes):
    panel.ui.referenceSelector.setCurrentNode(nodes[0])
    assert not panel.ui.compareButton.enabled
    assert "not the segmentation itself" in panel.ui.compareButton.toolTip
    panel.ui.referenceSelector.setCurrentNode(None)
    assert "reference" in panel.ui.compareButton.toolTip


def test_an_empty_reference_is_one_sentence(panel, shell, nodes):
    nodes[1].GetSegmentation().RemoveAllSegments()
    panel.ui.compareButton.click()
    assert "marks nothing" in shell.dialogs.shown[-1].text


def select_in_plot(index, series):
    """What VTK does when a point of the shown chart is clicked on; `series` counts from 0."""
    import slicer
    import vtk

    chart = slicer.app.layoutManager().plotWidget(0).plotView().chart()
    for n in range(chart.GetNumberOfPlots()):
        chosen = vtk.vtkIdTypeArray()
        if n == series:
            chosen.InsertNextValue(index)
        chart.GetPlot(n).SetSelection(chosen)
    chart.InvokeEvent("SelectionChangedEvent")


@pytest.mark.parametrize("plot", [0, 1], ids=["Dice", "Bland-Altman"])
def test_a_click_on_a_point_jumps_there(panel, shell, nodes, plot):
    import vtk

    compare(panel, shell)
    panel.ui.plotSelector.setCurrentIndex(plot)
    panel.ui.plotsButton.click()
    select_in_plot(4, series=0)
    assert red_position() == pytest.approx(6 * SPACING[2])
    if plot == 1:
        select_in_plot(0, series=1)  # an end of the line of the bias is no slice
        assert red_position() == pytest.approx(6 * SPACING[2])
    # the plot view itself would only pan
    chart = panel.compareSection._plot_view.chart()
    assert chart.GetClickActionToButton(vtk.vtkChart.SELECT) == vtk.vtkContextMouseEvent.LEFT_BUTTON


def test_a_point_of_another_chart_does_not_jump(panel, shell, nodes):
    import slicer
    import vtk
    from SpineSegLib.scene import charts

    compare(panel, shell)
    panel.ui.plotsButton.click()
    before = red_position()
    table = vtk.vtkTable()
    for name in ("Epoch", "Loss"):
        charts.number_column(table, name, [1, 2, 3, 4], float)
    node = charts.own_node("vtkMRMLTableNode", "Re-training")
    charts.fill(node, table)
    loss = charts.series("Loss", node, "Epoch", "Loss", (1, 0, 0), points=True, line=True)
    chart = charts.chart("Re-training", [loss], "Epoch", "", legend=True)
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    select_in_plot(3, series=0)
    assert red_position() == before


def test_jumps_show_the_slice_also_where_views_move_by_offset(panel, shell, nodes):
    import slicer

    compare(panel, shell)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetJumpModeToOffset()
    panel.ui.nextWorstButton.click()
    assert red_position() == pytest.approx(5 * SPACING[2])
    red.SetJumpModeToCentered()


def test_disabled_controls_say_why(panel, nodes):
    ui = panel.ui
    for control in (
        ui.tableSelector, ui.plotSelector, ui.plotsButton, ui.exportTablesButton,
        ui.differenceCheckBox, ui.previousWorstButton, ui.nextWorstButton,
    ):  # fmt: skip
        assert not control.enabled
        assert control.toolTip == "Compare first."
    assert "Select a version" in ui.renameVersionButton.toolTip
    assert "Select a case" in ui.removeCaseButton.toolTip


def test_table_headers_are_the_names_of_the_columns(panel, shell, nodes):
    compare(panel, shell)
    metrics, slices = panel.compareSection._tables
    assert metrics.GetColumnTitle("Metric") == "Metric"
    assert slices.GetColumnTitle("S") == "S (mm)"
