# What is installed, and the Debian package of it.
# The program lies beside ONNX Runtime's library, where it looks first; bin has a link to it.
set(link "${CMAKE_CURRENT_BINARY_DIR}/link/bitnet-edge")
file(MAKE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/link")
file(CREATE_LINK ../lib/bitnet-edge/bitnet-edge "${link}" SYMBOLIC)
set(repository "${CMAKE_CURRENT_SOURCE_DIR}/../..")

install(TARGETS bitnet-edge RUNTIME DESTINATION lib/bitnet-edge)
install(FILES "${link}" DESTINATION bin)
install(FILES systemd/bitnet-edge.service DESTINATION lib/systemd/system)
install(FILES README.md DESTINATION share/doc/bitnet-edge)
install(FILES "${repository}/LICENSE" DESTINATION share/doc/bitnet-edge RENAME copyright)
set(missing "")
if(onnxruntime)
  install(FILES "${onnxruntime}" DESTINATION lib/bitnet-edge RENAME libonnxruntime.so)
  # A wheel has its licence above the library's folder, an archive above lib.
  get_filename_component(above "${onnxruntime}" DIRECTORY)
  foreach(name IN ITEMS LICENSE ThirdPartyNotices.txt)
    set(found "")
    foreach(file IN ITEMS "${above}/${name}" "${above}/../${name}")
      if(EXISTS "${file}")
        set(found "${file}")
      endif()
    endforeach()
    if(found)
      install(FILES "${found}" DESTINATION share/doc/bitnet-edge RENAME onnxruntime-${name})
    else()
      string(APPEND missing " ${name}")
    endif()
  endforeach()
endif()

# Said by cpack alone: a build that nobody passes on needs neither.
set(refused "")
if(NOT onnxruntime)
  set(refused "ONNX Runtime is not in this build, and Debian has no package for this one to depend on; \
configure it with -DBITNET_EDGE_ONNXRUNTIME=FOLDER, a wheel's or an archive's")
elseif(missing)
  set(refused "${onnxruntime} lies without its${missing}, with which it has to be passed on; \
unpack the whole wheel or archive, and configure the build again")
endif()
file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/package_check.cmake" @ONLY CONTENT
[[set(refused [=[@refused@]=])
if(refused)
  message(FATAL_ERROR "no package is made: ${refused}")
endif()
]])
set(CPACK_PROJECT_CONFIG_FILE "${CMAKE_CURRENT_BINARY_DIR}/package_check.cmake")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME bitnet-edge)
set(CPACK_PACKAGE_VERSION "${version}")
set(CPACK_PACKAGE_CONTACT "bitnet_onnx authors <noreply@localhost>" CACHE STRING
    "Who made the package")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "1.58-bit language models on a small computer")
set(CPACK_PACKAGE_DESCRIPTION "Answers from a folder that bitnet-onnx export made: one question, a
chat in the terminal, or a server for this machine. No model is inside.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION misc)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.34), libstdc++6 (>= 12)")
# The service is told of an upgrade and of the end.
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    "${CMAKE_CURRENT_SOURCE_DIR}/debian/postinst;${CMAKE_CURRENT_SOURCE_DIR}/debian/prerm"
    "${CMAKE_CURRENT_SOURCE_DIR}/debian/postrm")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION TRUE)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)  # else that of this machine
endif()
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
include(CPack)
