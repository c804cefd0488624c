# A toolchain for an extension in which nothing is compiled: CMake neither looks for compilers nor tries them.

foreach(language C CXX)
  set(CMAKE_${language}_COMPILER "${CMAKE_COMMAND}")
  set(CMAKE_${language}_COMPILER_ID_RUN TRUE)
  set(CMAKE_${language}_COMPILER_FORCED TRUE)
  set(CMAKE_${language}_ABI_COMPILED TRUE)
endforeach()
