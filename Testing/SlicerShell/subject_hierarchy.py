"""Items of the subject hierarchy for new nodes, which in Slicer its plugins make."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

# Data nodes that Slicer's plugins own, and the name of the plugin.
PLUGINS = {
    "vtkMRMLLabelMapVolumeNode": "LabelMaps",
    "vtkMRMLVolumeNode": "Volumes",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLMarkupsNode": "Markups",
    "vtkMRMLTransformNode": "Transforms",
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLPlotChartNode": "Plots",
    "vtkMRMLTextNode": "Texts",
}


def plugin_of(node: Any) -> str | None:
    """The plugin that takes a node, or None for nodes that have no place in the hierarchy."""
    if node is None or node.GetHideFromEditors():
        return None
    return next((plugin for kind, plugin in PLUGINS.items() if node.IsA(kind)), None)


class SubjectHierarchyPlugins:
    """Gives every new data node its item, and takes it away with the node."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        # Before views look for their nodes' places, which in a scene just loaded would be those of another hierarchy.
        scene.AddObserver(scene.EndImportEvent, _with_node(self._resolve), 100.0)
        for event, method in (
            (scene.NodeAddedEvent, self._added),
            (scene.NodeAboutToBeRemovedEvent, self._leaves),
            (scene.EndImportEvent, self._imported),
        ):
            # After MRML's own logics, which bring the hierarchy of a loaded scene in order.
            scene.AddObserver(event, _with_node(method), -100.0)

    def _hierarchy(self) -> slicer.vtkMRMLSubjectHierarchyNode:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def _added(self, node: Any) -> None:
        # What a scene file brings has its items in that file.
        if not self.scene.IsImporting():
            self._give_item(node)

    def _give_item(self, node: Any) -> None:
        plugin = plugin_of(node)
        hierarchy = self._hierarchy()
        if plugin is None or hierarchy.GetItemByDataNode(node):
            return
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemOwnerPluginName(item, plugin)

    def _leaves(self, node: Any) -> None:
        if node is None or plugin_of(node) is None or self.scene.IsClosing():
            return
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, True)

    def _resolve(self, _: Any) -> None:
        self._hierarchy().ResolveSubjectHierarchy(self.scene)

    def _imported(self, _: Any) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLNode", self.scene):
            self._give_item(node)


def _with_node(method: Any) -> Any:
    def forward(caller: Any, event: Any, node: Any = None) -> None:
        method(node)

    forward.CallDataType = vtk.VTK_OBJECT
    return forward
