# Kernels per instruction-set level: src/kernels/<level>/*.cpp are compiled with the flags of that level, everything
# else for the baseline. Such a source may include no header with inline functions (tests/kernels/isa_test.cpp
# checks its symbols). Call in the directory that defines the target. On other architectures the sources are left out.
include_guard(GLOBAL)

function(redoubt_isa_sources target)
  file(GLOB avx2 CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/avx2/*.cpp)
  file(GLOB avx512 CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/avx512/*.cpp)
  file(GLOB amx CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/amx/*.cpp)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(avx2_flags -mavx2 -mfma -mf16c)
    set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mprefer-vector-width=512)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC's own _mm512_undefined_*() warns when inlined (GCC bug 105593).
      list(APPEND avx512_flags -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
    set_source_files_properties(${avx2} PROPERTIES COMPILE_OPTIONS "${avx2_flags}")
    set_source_files_properties(${avx512} PROPERTIES COMPILE_OPTIONS "${avx512_flags}")
    set_source_files_properties(${amx} PROPERTIES
      COMPILE_OPTIONS "${avx512_flags};-mamx-tile;-mamx-bf16;-mamx-int8")
    # What grows trees gives the same bits at every level.
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/kernels/avx2/grow.cpp
      PROPERTIES COMPILE_OPTIONS "${avx2_flags};-ffp-contract=off")
    set_source_files_properties(
      ${PROJECT_SOURCE_DIR}/src/kernels/avx512/grow.cpp ${PROJECT_SOURCE_DIR}/src/kernels/avx512/bagging.cpp
      PROPERTIES COMPILE_OPTIONS "${avx512_flags};-ffp-contract=off")
    # Chosen where CPUID has them beside the level.
    set_source_files_properties(
      ${PROJECT_SOURCE_DIR}/src/kernels/avx512/conv.cpp ${PROJECT_SOURCE_DIR}/src/kernels/avx512/narrow.cpp
      ${PROJECT_SOURCE_DIR}/src/kernels/avx512/rounded.cpp
      PROPERTIES COMPILE_OPTIONS "${avx512_flags};-mavx512bf16;-mavx512vnni")
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/kernels/amx/narrow.cpp
      PROPERTIES COMPILE_OPTIONS "${avx512_flags};-mamx-tile;-mamx-bf16;-mamx-int8;-mavx512bf16")
    target_compile_definitions(${target} PRIVATE REDOUBT_HAS_X86_KERNELS)
  else()
    set_source_files_properties(${avx2} ${avx512} ${amx} PROPERTIES HEADER_FILE_ONLY ON)
  endif()
endfunction()
