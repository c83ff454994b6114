# Sets ONNXRUNTIME_INCLUDE_DIR to a folder that holds onnxruntime_c_api.h, looking in this order:
#   1. -DONNXRUNTIME_INCLUDE_DIR=..., or the environment variable of that name
#   2. the system (Debian's libonnxruntime-dev, Homebrew, CMAKE_PREFIX_PATH ...)
#   3. on Debian: the header package of release 13, from the mirror this machine is configured for
#   4. elsewhere: the official release archive
# 3 and 4 have a pinned version and SHA256, need no root, change nothing outside the build folder
# and happen once per checkout. Headers only: the library never links ONNX Runtime.

set(BITNET_ONNX_ORT_API 17)  # the smallest ORT_API_VERSION that has all the functions we call

# The package holds headers and a dangling link, so the amd64 file serves every architecture.
set(_deb_version 1.21.0+dfsg-1)
set(_deb_path pool/main/o/onnxruntime/libonnxruntime-dev_1.21.0%2bdfsg-1_amd64.deb)
set(_deb_sha256 14f7d959d5deacbcf1504830d4189f91fc67382b399ed9ae9d3aa9c4050ced08)

# Not run where this was written (no access to the release page there). The hash is the one that
# two unrelated public projects pin for this file; a wrong file is refused, never used.
set(_release_version 1.24.2)
set(_release_url "https://github.com/microsoft/onnxruntime/releases/download/v1.24.2/onnxruntime-linux-x64-1.24.2.tgz")
set(_release_sha256 43725474ba5663642e17684717946693850e2005efbd724ac72da278fead25e6)

# Shared by all build trees of a checkout (`make test`, pip's wheel build, `make wheels`).
get_filename_component(_header_cache "${CMAKE_CURRENT_LIST_DIR}/../../build/onnxruntime" ABSOLUTE)
set(BITNET_ONNX_HEADER_CACHE "${_header_cache}" CACHE PATH "Where fetched ONNX Runtime headers are kept")

set(_header_suffixes include include/onnxruntime include/onnxruntime/core/session
    onnxruntime onnxruntime/core/session)

# found: the folder at or below `folder` with a new enough header, or empty; problem: a sentence.
function(_check_headers folder found problem)
  set(${found} "" PARENT_SCOPE)
  set(${problem} "" PARENT_SCOPE)
  foreach(suffix IN ITEMS "" ${_header_suffixes})
    get_filename_component(header "${folder}/${suffix}/onnxruntime_c_api.h" ABSOLUTE)
    if(NOT EXISTS "${header}")
      continue()
    endif()
    file(STRINGS "${header}" line REGEX "^#define ORT_API_VERSION +[0-9]+" LIMIT_COUNT 1)
    string(REGEX MATCH "[0-9]+" api "${line}")
    if(NOT api)
      set(${problem} "${header} does not define ORT_API_VERSION." PARENT_SCOPE)
    elseif(api LESS BITNET_ONNX_ORT_API)
      set(${problem} "${header} has ORT_API_VERSION ${api}; ${BITNET_ONNX_ORT_API} or later (ONNX Runtime 1.17) is needed." PARENT_SCOPE)
    else()
      get_filename_component(directory "${header}" DIRECTORY)
      set(${found} "${directory}" PARENT_SCOPE)
      message(STATUS "ONNX Runtime headers: ${directory} (API ${api})")
    endif()
    return()
  endforeach()
  set(${problem} "${folder} does not hold onnxruntime_c_api.h." PARENT_SCOPE)
endfunction()

# The archive mirrors of this machine, whichever of apt's source formats it uses.
function(_debian_mirrors mirrors)
  set(${mirrors} "" PARENT_SCOPE)
  find_program(BITNET_ONNX_APT_GET apt-get)
  find_program(BITNET_ONNX_DPKG_DEB dpkg-deb)
  mark_as_advanced(BITNET_ONNX_APT_GET BITNET_ONNX_DPKG_DEB)
  if(NOT BITNET_ONNX_APT_GET OR NOT BITNET_ONNX_DPKG_DEB OR NOT EXISTS /etc/os-release)
    return()
  endif()
  file(STRINGS /etc/os-release id REGEX "^ID=\"?debian\"?$")
  if(id)
    execute_process(
      COMMAND "${BITNET_ONNX_APT_GET}" indextargets --format "$(REPO_URI) $(COMPONENT)"
              "Created-By: Packages"
      OUTPUT_VARIABLE lines ERROR_QUIET)
    string(REGEX MATCHALL "[^\n ]+ main\n" lines "${lines}")
    list(TRANSFORM lines REPLACE "/? main\n$" "")
    list(REMOVE_DUPLICATES lines)
    set(${mirrors} "${lines}" PARENT_SCOPE)
  endif()
endfunction()

# apt-helper downloads as apt does (its proxies, its certificates) and checks the hash.
function(_fetch_debian target problem)
  set(problems " this is not a Debian machine with apt-get and dpkg-deb")
  _debian_mirrors(mirrors)
  if(mirrors)
    set(problems "")
  endif()
  foreach(mirror IN LISTS mirrors)
    execute_process(
      COMMAND /usr/lib/apt/apt-helper download-file "${mirror}/${_deb_path}" "${target}/headers.deb"
              SHA256:${_deb_sha256}
      RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE said)
    if(NOT failed)
      file(SHA256 "${target}/headers.deb" sha256)
      if(NOT sha256 STREQUAL _deb_sha256)
        set(failed "the SHA256 is ${sha256}, not ${_deb_sha256}")
      else()
        execute_process(
          COMMAND "${BITNET_ONNX_DPKG_DEB}" -x "${target}/headers.deb" "${target}/unpacked"
          RESULT_VARIABLE failed ERROR_VARIABLE said)
      endif()
    endif()
    if(NOT failed)
      file(RENAME "${target}/unpacked/usr/include/onnxruntime" "${target}/include")
      set(${problem} "" PARENT_SCOPE)
      return()
    endif()
    string(REGEX REPLACE "\n+" " " said "${failed} ${said}")
    string(APPEND problems "\n    ${mirror}: ${said}")
  endforeach()
  set(${problem} "${problems}" PARENT_SCOPE)
endfunction()

function(_fetch_release target problem)
  set(${problem} "" PARENT_SCOPE)
  file(DOWNLOAD "${_release_url}" "${target}/release.tgz" STATUS status TIMEOUT 300 TLS_VERIFY ON)
  list(GET status 0 code)
  list(GET status 1 said)
  if(NOT code EQUAL 0)
    set(${problem} "${_release_url}: ${said}" PARENT_SCOPE)
    return()
  endif()
  file(SHA256 "${target}/release.tgz" sha256)
  if(NOT sha256 STREQUAL _release_sha256)
    set(${problem} "${_release_url}: the SHA256 is ${sha256}, not ${_release_sha256}" PARENT_SCOPE)
    return()
  endif()
  file(ARCHIVE_EXTRACT INPUT "${target}/release.tgz" DESTINATION "${target}/unpacked"
       PATTERNS "*/include/*")
  file(GLOB include "${target}/unpacked/*/include")
  file(RENAME "${include}" "${target}/include")
endfunction()

# One attempt: work in a side folder, then rename, so that a half-done fetch is never taken up.
# Locked, as `make wheels` configures several build trees at a time.
function(_fetch_headers kind version found problem)
  set(${found} "" PARENT_SCOPE)
  set(${problem} "" PARENT_SCOPE)
  set(place "${BITNET_ONNX_HEADER_CACHE}/${version}")
  file(LOCK "${BITNET_ONNX_HEADER_CACHE}" DIRECTORY GUARD FUNCTION TIMEOUT 600)
  if(NOT EXISTS "${place}")
    message(STATUS "Fetching the ONNX Runtime headers ${version} (${kind})")
    set(side "${place}.part")
    file(REMOVE_RECURSE "${side}")
    file(MAKE_DIRECTORY "${side}")
    cmake_language(CALL "_fetch_${kind}" "${side}" said)
    if(said)
      file(REMOVE_RECURSE "${side}")
      set(${problem} "${said}" PARENT_SCOPE)
      return()
    endif()
    file(RENAME "${side}/include" "${place}")
    file(REMOVE_RECURSE "${side}")
  endif()
  _check_headers("${place}" folder said)
  set(${found} "${folder}" PARENT_SCOPE)
  set(${problem} "${said}" PARENT_SCOPE)
endfunction()

function(_find_headers found)
  set(given "${ONNXRUNTIME_INCLUDE_DIR}")
  if(NOT given)
    set(given "$ENV{ONNXRUNTIME_INCLUDE_DIR}")
  endif()
  if(given)
    get_filename_component(given "${given}" ABSOLUTE BASE_DIR "${CMAKE_BINARY_DIR}")
    _check_headers("${given}" folder problem)
    if(problem)
      message(FATAL_ERROR "ONNXRUNTIME_INCLUDE_DIR: ${problem}")
    endif()
    set(${found} "${folder}" PARENT_SCOPE)
    return()
  endif()

  find_path(system onnxruntime_c_api.h PATH_SUFFIXES ${_header_suffixes} NO_CACHE)
  if(system)
    _check_headers("${system}" folder system_problem)
    if(folder)
      set(${found} "${folder}" PARENT_SCOPE)
      return()
    endif()
  else()
    set(system_problem "not found")
  endif()

  _fetch_headers(debian ${_deb_version} folder debian_problem)
  if(NOT folder)
    _fetch_headers(release ${_release_version} folder release_problem)
  endif()
  if(NOT folder)
    message(FATAL_ERROR
      "The ONNX Runtime headers (onnxruntime_c_api.h) were not found and could not be fetched.\n"
      "Install libonnxruntime-dev (Debian 13 or later), `brew install onnxruntime`, "
      "or unpack any ONNX Runtime release >= 1.17 and set ONNXRUNTIME_INCLUDE_DIR to its include folder.\n"
      "  system: ${system_problem}\n"
      "  Debian package:${debian_problem}\n"
      "  release archive: ${release_problem}")
  endif()
  set(${found} "${folder}" PARENT_SCOPE)
endfunction()

_find_headers(ONNXRUNTIME_INCLUDE_DIR)
