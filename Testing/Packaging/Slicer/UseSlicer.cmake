# Stand-in, see SlicerConfig.cmake: the commands an extension gets from Slicer.

if(PROJECT_NAME MATCHES "^(|Project|Slicer)$")
  message(FATAL_ERROR "Call project(<name of the extension>) before including Slicer_USE_FILE.")
endif()
set(EXTENSION_NAME "${PROJECT_NAME}")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
include(CTest)

# Copy the scripts and resources of a module to the build tree, where they keep their paths relative to the module's folder,
# and install what is in the build tree.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(PARSE_ARGV 0 MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES")
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown keywords ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  foreach(needed NAME SCRIPTS)
    if(NOT MODULE_${needed})
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: ${needed} is mandatory")
    endif()
  endforeach()

  set(modules_dir "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(install_from "${modules_dir}/") # the content of the folder, not the folder itself
  if(MODULE_WITH_SUBDIR)
    get_filename_component(subdir "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    string(APPEND modules_dir "/${subdir}")
    set(install_from "${modules_dir}")
  endif()

  set(copies)
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    # Slicer takes these but copies them to somewhere else than the module.
    if(IS_ABSOLUTE "${file}" OR file MATCHES "(^|/)\\.\\.(/|$)")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: ${file} is not within ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    if(file IN_LIST MODULE_SCRIPTS AND NOT file MATCHES "\\.py$")
      string(APPEND file ".py")
    endif()
    set(source "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    if(NOT EXISTS "${source}" OR IS_DIRECTORY "${source}")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule given nonexistent file ${file}")
    endif()
    set(copy "${modules_dir}/${file}")
    add_custom_command(
      OUTPUT "${copy}" DEPENDS "${source}" COMMAND ${CMAKE_COMMAND} -E copy "${source}" "${copy}" VERBATIM)
    list(APPEND copies "${copy}")
  endforeach()
  add_custom_target(Copy${MODULE_NAME}Files ALL DEPENDS ${copies})
  install(DIRECTORY "${install_from}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}")

  if(BUILD_TESTING AND MODULE_WITH_GENERIC_TESTS)
    add_test(NAME py_nomainwindow_qSlicer${MODULE_NAME}ModuleGenericTest COMMAND ${Slicer_LAUNCHER_EXECUTABLE})
  endif()
endfunction()

# Run the unittest classes of a script within Slicer.
function(slicer_add_python_unittest)
  cmake_parse_arguments(PARSE_ARGV 0 TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS")
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest given nonexistent file ${TEST_SCRIPT}")
  endif()
  get_filename_component(name "${TEST_SCRIPT}" NAME_WE)
  add_test(
    NAME py_${TEST_TESTNAME_PREFIX}${name}
    COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --testing ${TEST_SLICER_ARGS}
      --additional-module-paths "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}"
      --python-code "import slicer.testing; slicer.testing.runUnitTest(['${CMAKE_CURRENT_SOURCE_DIR}'], '${name}')")
endfunction()
