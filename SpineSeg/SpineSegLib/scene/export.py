"""Segments of the scene as files: Slicer's own .seg.nrrd, label maps, DICOM SEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.writing import atomic_output, check_output, write_segmentation
from SpineSegLib.engine.segments import SEGMENTS, Segment
from SpineSegLib.engine.volume import Volume
from SpineSegLib.scene.segmentations import KEY_TAG, labelmap_matrix, segment_tag, vtk_matrix
from SpineSegLib.scene.terminology import type_code_of
from SpineSegLib.scene.volumes import RAS_TO_LPS, ijk_to_ras, voxels

_TISSUE = ("85756007", "Tissue")  # what Slicer calls a segment that nobody gave a meaning


def export_segmentation(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    path: str | Path,
    segment_ids: str | Sequence[str] = "all",
    overwrite: bool = False,
    dicom_folder: str | Path | None = None,
) -> Path:
    """Write segments in the format that the ending of `path` names, whole or not at all; returns the path.

    `segment_ids`: "all", "visible", or IDs. `.seg.nrrd`: as Slicer saves them. `.nrrd`, `.nii.gz`, `.nii`, `.mha`: a
    label map on the CT's own grid, values as in `engine.segments` (the next free one where two are the same), later
    segments on top. `.dcm`: DICOM SEG for the CT's series, whose files come from `dicom_folder` or Slicer's database.
    As everything Slicer saves, parent transforms are not applied.

    Raises OutputError where the file can't be written, or is there without `overwrite`, InputError where there is
    nothing to write or no CT that it belongs to.
    """
    path = Path(path)
    check_output(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already; choose another name or allow to overwrite it.")
    ids = _chosen(segmentation_node, segment_ids)
    if not ids:
        raise InputError("There is no segment to export; segment first or choose others.")
    if path.name.lower().endswith(".seg.nrrd"):
        _save_as_slicer_does(segmentation_node, ids, path)
        return path
    volume_node = segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())
    if volume_node is None or volume_node.GetImageData() is None:
        raise InputError("The CT of the segmentation is not in the scene; load it, or export as .seg.nrrd.")
    segments = _as_engine_segments(segmentation_node, ids)
    labelmap = _labelmap(segmentation_node, volume_node, ids, [segment.label for segment in segments])
    files: tuple[Path, ...] = ()
    if path.suffix.lower() == ".dcm":
        files = _series_files(volume_node, dicom_folder) if dicom_folder else dicom_files_of(volume_node)
        if not files:
            raise OutputError(
                "DICOM SEG needs the CT's DICOM files, which Slicer's DICOM database doesn't have; import them there or"
                " choose another ending."
            )
    write_segmentation(labelmap, segments, path, Volume(labelmap, "CT", dicom_files=files))
    return path


def dicom_files_of(volume_node: slicer.vtkMRMLVolumeNode) -> tuple[Path, ...]:
    """The DICOM files a volume was loaded from, by Slicer's DICOM database; empty if it doesn't have all of them."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instances:
        return ()
    found = [database.fileForInstance(uid) for uid in instances]
    if not all(name and Path(name).is_file() for name in found):
        return ()
    return tuple(Path(name) for name in dict.fromkeys(found))


def _series_files(volume_node: slicer.vtkMRMLVolumeNode, folder: str | Path) -> tuple[Path, ...]:
    from SpineSegLib.engine.files.dicom_series import choose_series, list_series

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    item = hierarchy.GetItemByDataNode(volume_node)
    uid = hierarchy.GetItemUID(item, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMUIDName()) if item else ""
    return choose_series(list_series(folder), uid or None, folder).files


def _chosen(node: slicer.vtkMRMLSegmentationNode, wanted: str | Sequence[str]) -> list[str]:
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    if wanted == "all":
        return ids
    if wanted == "visible":
        return [id_ for id_ in ids if display is None or display.GetSegmentVisibility(id_)]
    return [id_ for id_ in ids if id_ in wanted]


def _save_as_slicer_does(node: slicer.vtkMRMLSegmentationNode, ids: Sequence[str], path: Path) -> None:
    # A copy, as saving rearranges layers and only chosen segments are to be saved.
    copy = slicer.vtkMRMLSegmentationNode()
    copy.GetSegmentation().CopyConversionParameters(node.GetSegmentation())
    copy.GetSegmentation().SetSourceRepresentationName(node.GetSegmentation().GetSourceRepresentationName())
    for id_ in ids:
        copy.GetSegmentation().CopySegmentFromSegmentation(node.GetSegmentation(), id_)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    with atomic_output(path) as temporary:
        storage.SetFileName(str(temporary))
        if not storage.WriteData(copy) or not temporary.is_file():
            raise OutputError(f"{path} can't be written; check the disk and try again.")


def _as_engine_segments(node: slicer.vtkMRMLSegmentationNode, ids: Sequence[str]) -> list[Segment]:
    found: list[Segment] = []
    for id_ in ids:
        segment = node.GetSegmentation().GetSegment(id_)
        scheme, code, meaning = type_code_of(segment)
        if scheme != "SCT":
            code, meaning = _TISSUE
        key = segment_tag(segment, KEY_TAG)
        label = SEGMENTS[key].label if key in SEGMENTS else 1
        used = {other.label for other in found}
        label = next(n for n in range(label, label + len(ids) + 1) if n not in used)
        found.append(Segment(id_, segment.GetName(), label, segment.GetColor(), code, meaning))
    return found


def _labelmap(
    node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLVolumeNode,
    ids: Sequence[str],
    labels: Sequence[int],
) -> sitk.Image:
    """The segments on the grid of the volume, in the volume's own coordinates."""
    matrix = labelmap_matrix(volume_node, node)
    if matrix is None:
        raise InputError("The segmentation is transformed differently from its CT; export it as .seg.nrrd.")
    geometry, merged = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    geometry.SetExtent(volume_node.GetImageData().GetExtent())
    geometry.SetImageToWorldMatrix(vtk_matrix(matrix))
    names, values = vtk.vtkStringArray(), vtk.vtkIntArray()
    for id_, label in zip(ids, labels, strict=True):
        names.InsertNextValue(id_)
        values.InsertNextValue(label)
    mode = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    if not node.GenerateMergedLabelmapForAllSegments(merged, mode, geometry, names, values):
        raise InputError("The segments can't be brought onto the CT's grid; export them as .seg.nrrd.")
    image = sitk.GetImageFromArray(voxels(merged).astype(np.uint8 if max(labels) < 256 else np.uint16))
    to_lps = RAS_TO_LPS @ ijk_to_ras(volume_node)
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((to_lps @ [*volume_node.GetImageData().GetExtent()[::2], 1])[:3].tolist())
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    return image
