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
set(depends "libc6 (>= 2.34), libstdc++6 (>= 12)")
if(onnxruntime)
  install(FILES "${onnxruntime}" DESTINATION lib/bitnet-edge RENAME libonnxruntime.so)
  # A wheel has its licence above the library's folder, an archive above lib.
  get_filename_component(above "${onnxruntime}" DIRECTORY)
  foreach(file IN ITEMS LICENSE ThirdPartyNotices.txt)
    install(FILES "${above}/../${file}" DESTINATION share/doc/bitnet-edge RENAME
            onnxruntime-${file} OPTIONAL)
  endforeach()
else()
  string(APPEND depends ", libonnxruntime")
endif()

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
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${depends}")
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)  # else that of this machine
endif()
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
include(CPack)
