# Lets this package build against the ROS 2 wheels of PyPI in a virtual environment.
# Does nothing where ROS comes from anywhere else: the test below is for the wheels' own layout.

set(_wheels_prefix "$ENV{VIRTUAL_ENV}")
if(NOT _wheels_prefix OR NOT EXISTS "${_wheels_prefix}/share/rosidl_default_generators")
  return()
endif()
message(STATUS "ROS 2 comes from PyPI wheels in ${_wheels_prefix}")

# A sourced ROS does this in its setup script; the wheels have none.
list(PREPEND CMAKE_PREFIX_PATH "${_wheels_prefix}")
set(ENV{AMENT_PREFIX_PATH} "${_wheels_prefix}")

# The wheels' imported targets still name include folders of the machine that built them, and CMake refuses
# targets whose include folders do not exist. Only the folders that exist here are kept.
function(_wheels_drop_missing_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    foreach(property INTERFACE_INCLUDE_DIRECTORIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES)
      get_target_property(folders ${target} ${property})
      if(NOT folders)
        continue()
      endif()
      set(kept)
      foreach(folder IN LISTS folders)
        if(folder MATCHES "^\\$<" OR EXISTS "${folder}")
          list(APPEND kept "${folder}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES ${property} "${kept}")
    endforeach()
  endforeach()
endfunction()

if(CMAKE_VERSION VERSION_LESS 3.19)
  message(FATAL_ERROR "Building with the PyPI wheels of ROS 2 needs CMake 3.19 or newer, this is ${CMAKE_VERSION}.")
endif()
cmake_language(DEFER CALL _wheels_drop_missing_includes)
