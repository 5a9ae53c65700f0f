# redoubt_room(<room> [DEPENDS room...] [FORM pattern...] [FORM_NAMES name...])
#
# One room of the house = one library target `redoubt::<room>` from src/<room>/**.cpp, whose public headers are the
# FILE_SET HEADERS of include/redoubt/<room>/. That file set is the only list of headers: build, install and the
# self-containment check all use it. Sources in src/<room>/ that match a FORM pattern (the learned form: what is needed
# to load and predict) become `redoubt::<room>_form`, which redoubt::predict links without the training code.
# A room without sources is an INTERFACE library. Files are globbed with CONFIGURE_DEPENDS so that no list can drift.
include_guard(GLOBAL)

function(redoubt_compile_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:redoubt_warnings>)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF INSTALL_RPATH "$ORIGIN" VERSION ${PROJECT_VERSION}
                                             SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
endfunction()

function(redoubt_room room)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "DEPENDS;FORM;FORM_NAMES")
  set(target redoubt_${room})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${room}/*.cpp)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/redoubt/${room}/*.hpp)
  set(depends)
  set(form_depends)
  foreach(dependency IN LISTS ARG_DEPENDS)
    list(APPEND depends redoubt_${dependency})
    if(TARGET redoubt_${dependency}_form)
      list(APPEND form_depends redoubt_${dependency}_form)
    else()
      list(APPEND form_depends redoubt_${dependency})
    endif()
  endforeach()

  if(ARG_FORM)
    set(form_sources)
    foreach(pattern IN LISTS ARG_FORM)
      file(GLOB matched CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${room}/${pattern})
      list(APPEND form_sources ${matched})
    endforeach()
    list(REMOVE_ITEM sources ${form_sources})
    add_library(${target}_form ${form_sources})
    add_library(redoubt::${room}_form ALIAS ${target}_form)
    set_target_properties(${target}_form PROPERTIES EXPORT_NAME ${room}_form)
    redoubt_compile_settings(${target}_form)
    target_link_libraries(${target}_form PUBLIC ${form_depends})
    foreach(name IN LISTS ARG_FORM_NAMES)
      # Keeps the registration of the form when a static library is linked.
      target_link_options(${target}_form INTERFACE "LINKER:-u,redoubt_form_${name}")
    endforeach()
    if(BUILD_SHARED_LIBS)
      # Nothing but the registration may be used of a shared one, and linkers that drop unused libraries do not see that.
      target_link_options(${target}_form INTERFACE "LINKER:--no-as-needed")
    endif()
    install(TARGETS ${target}_form EXPORT redoubtTargets)
    set_property(GLOBAL APPEND PROPERTY REDOUBT_FORM_TARGETS ${target}_form)
    list(APPEND depends ${target}_form)
  endif()

  if(sources)
    add_library(${target} ${sources})
    redoubt_compile_settings(${target})
    target_link_libraries(${target} PUBLIC ${depends})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                   $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_compile_features(${target} INTERFACE cxx_std_20)
    target_link_libraries(${target} INTERFACE ${depends})
    set(scope INTERFACE)
  endif()
  add_library(redoubt::${room} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${room})
  target_sources(${target} ${scope} FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${headers})
  install(TARGETS ${target} EXPORT redoubtTargets FILE_SET HEADERS)
  set_property(GLOBAL APPEND PROPERTY REDOUBT_ROOM_TARGETS ${target})
endfunction()

# Private link that stays out of the installed interface of shared builds, and is found again by
# redoubtConfig.cmake for static ones.
function(redoubt_links room)
  get_target_property(type redoubt_${room} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    return()  # a room of headers only has nothing to link
  endif()
  target_link_libraries(redoubt_${room} PRIVATE ${ARGN})
endfunction()
