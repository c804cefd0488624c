# Stand-in, see SlicerConfig.cmake: the package by which other extensions find this one.

file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}Config.cmake" "set(${EXTENSION_NAME}_SOURCE_DIR \"${PROJECT_SOURCE_DIR}\")\n")
