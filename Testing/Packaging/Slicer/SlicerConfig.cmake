# A minimal stand-in for the CMake package of 3D Slicer, so that the extension can be configured, built and installed where
# Slicer is not. Only what an extension of scripted modules uses; where Slicer stops with an error, so does this.

set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Pack.cmake")
set(Slicer_LAUNCHER_EXECUTABLE "Slicer")

# Places relative to the extension's build folder and to where it is installed, as in Slicer 5.12 on Linux and Windows.
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_SHARE_DIR "share/Slicer-5.12")
