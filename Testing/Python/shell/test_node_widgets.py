"""Widgets that choose and show nodes follow the scene as Slicer's do."""

import numpy as np
import pytest


def add_volume(name, kind=None):
    import slicer

    return slicer.util.addVolumeFromArray(np.ones((3, 4, 5), np.int16), name=name, nodeClassName=kind)


@pytest.fixture
def selector(shell):
    import slicer

    made = slicer.qMRMLNodeComboBox()
    made.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    made.setMRMLScene(slicer.mrmlScene)
    return made


def names(selector):
    return [selector.nodeFromIndex(index).GetName() for index in range(selector.nodeCount())]


def test_nodes_come_go_and_are_renamed(selector):
    import slicer

    a, b = add_volume("a"), add_volume("b")
    assert names(selector) == ["a", "b"]
    assert selector.currentNode() is a
    renamed = []
    selector.connect("currentNodeRenamed(QString)", renamed.append)
    a.SetName("c")
    assert renamed == ["c"]
    slicer.mrmlScene.RemoveNode(a)
    assert names(selector) == ["b"]
    assert selector.currentNode() is b


def test_signals_come_only_with_a_change(selector):
    a, b = add_volume("a"), add_volume("b")
    nodes, identifiers, valid = [], [], []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    selector.connect("currentNodeIDChanged(QString)", identifiers.append)
    selector.connect("currentNodeChanged(bool)", valid.append)
    selector.setCurrentNode(b)
    selector.setCurrentNode(b)
    selector.setCurrentNode(None)
    selector.currentNodeID = a.GetID()
    assert nodes == [b, None, a]
    assert identifiers == [b.GetID(), "", a.GetID()]
    assert valid == [True, False, True]


def test_none_may_be_chosen_only_where_enabled(selector):
    selector.noneEnabled = True
    assert selector.currentNode() is None
    add_volume("a")
    assert selector.currentNode() is None
    selector.noneEnabled = False
    assert selector.currentNode().GetName() == "a"


def test_filters(selector):
    hidden, plain, label = add_volume("hidden"), add_volume("plain"), add_volume("label", "vtkMRMLLabelMapVolumeNode")
    hidden.SetHideFromEditors(True)
    assert names(selector) == ["plain", "label"]
    selector.showChildNodeTypes = False
    assert names(selector) == ["plain"]
    selector.showHidden = True
    assert names(selector) == ["hidden", "plain"]
    selector.showChildNodeTypes = True
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    selector.addAttribute("vtkMRMLScalarVolumeNode", "kind", "ct")
    assert names(selector) == []
    plain.SetAttribute("kind", "ct")
    selector.removeAttribute("vtkMRMLScalarVolumeNode", "kind")
    assert names(selector) == ["hidden", "plain"]
    assert label.GetName() == "label"


def test_a_node_of_another_type_is_no_choice(selector):
    import slicer

    add_volume("a")
    selector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    assert selector.currentNode() is None


def test_the_list_makes_renames_and_deletes_nodes(selector, shell):
    import slicer

    selector.nodeTypes = ["vtkMRMLSegmentationNode"]
    selector.baseName = "Spine"
    selector.renameEnabled = True
    added = []
    selector.connect("nodeAddedByUser(vtkMRMLNode*)", added.append)
    box = selector.children()[1]
    assert box.itemText(box.count - 1).startswith("Create new")
    box.activated.emit(box.count - 1)
    node = selector.currentNode()
    assert added == [node]
    assert node.GetName() == "Spine"
    shell.dialogs.answer("Neck")
    rename = next(i for i in range(box.count) if box.itemText(i).startswith("Rename"))
    box.activated.emit(rename)
    assert node.GetName() == "Neck"
    box.activated.emit(box.count - 1)
    assert selector.currentNode() is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_strict(selector):
    import slicer

    with pytest.raises(AttributeError):
        selector.nodeTypes = "vtkMRMLScalarVolumeNode"
    with pytest.raises(AttributeError):
        selector.noneEnable = True
    with pytest.raises(AttributeError):
        selector.setNodeTypes(["vtkMRMLScalarVolumeNode"])
    with pytest.raises(ValueError, match="vtkMRMLNode"):
        selector.setCurrentNode(slicer.vtkMRMLScene())
    with pytest.raises(ValueError, match="vtkMRMLScene"):
        selector.setMRMLScene("scene")
    with pytest.raises(ValueError, match="does not exist"):
        selector.connect("currentNodeChanged(QString)", print)


def test_a_widget_that_is_gone_is_called_no_more(shell):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    selector.delete()
    add_volume("a")
    assert not shell.take_errors()


@pytest.fixture
def segmentation(shell):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Spine")
    node.CreateDefaultDisplayNodes()
    for name in ("L1", "L2"):
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def test_segment_selector(segmentation):
    import slicer

    selector, chosen = slicer.qMRMLSegmentSelectorWidget(), []
    selector.connect("currentSegmentChanged(QString)", chosen.append)
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is segmentation
    assert selector.currentSegmentID() == "L1"
    selector.setCurrentSegmentID("L2")
    segmentation.GetSegmentation().RemoveSegment("L2")
    assert selector.currentSegmentID() == "L1"
    assert chosen == ["L1", "L2", "L1"]


def test_segments_table(segmentation, shell):
    import qt
    import slicer

    table = slicer.qMRMLSegmentsTableView()
    table.setMRMLScene(slicer.mrmlScene)
    table.setSegmentationNode(segmentation)
    assert table.segmentCount == 2
    table.setSelectedSegmentIDs(["L2"])
    assert table.selectedSegmentIDs() == ("L2",)
    segmentation.GetSegmentation().AddEmptySegment("L3", "L3")
    assert table.displayedSegmentIDs() == ("L1", "L2", "L3")
    assert table.selectedSegmentIDs() == ("L2",)
    table.tableWidget().item(0, 3).setText("First lumbar")
    assert segmentation.GetSegmentation().GetSegment("L1").GetName() == "First lumbar"
    table.tableWidget().item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert not segmentation.GetDisplayNode().GetSegmentVisibility("L1")
    with pytest.raises(ValueError, match="vtkMRMLSegmentationNode"):
        table.setSegmentationNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode"))


def test_table_view(shell):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    view = slicer.qMRMLTableView()
    view.setMRMLScene(slicer.mrmlScene)
    view.setMRMLTableNode(node)
    slicer.util.updateTableFromArray(node, [np.array([0.5, 0.25]), np.array([3, 4], np.int32)], ["dice", "count"])
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (2, 2)
    assert model.headerData(0, 1) == "dice"
    assert model.data(model.index(1, 0)) == "0.25"
    view.selectAll()
    view.copySelection()
    assert slicer.app.clipboard().text() == "0.5\t3\n0.25\t4"
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    assert view.mrmlTableNode() is None  # what a view shows that knows the scene but has no view node
