# Stand-in, see SlicerConfig.cmake: the description that travels with the extension. Slicer lets some of these be empty, its
# Extensions Index doesn't.

foreach(name EXTENSION_README_FILE EXTENSION_LICENSE_FILE)
  if(NOT EXISTS "${${name}}")
    message(FATAL_ERROR "${name} points to a file that doesn't exist: ${${name}}")
  endif()
endforeach()

set(description "")
foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  # Slicer hands these on without quotes: all behind a ; is lost.
  if("${EXTENSION_${name}}" MATCHES "^$|;")
    message(FATAL_ERROR "EXTENSION_${name} must be one text, not empty and without a semicolon")
  endif()
  string(TOLOWER "${name}" key)
  string(APPEND description "${key} ${EXTENSION_${name}}\n")
endforeach()
file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" "${description}")
install(FILES "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" DESTINATION "${Slicer_SHARE_DIR}")
