# Fails where the linker has a choice between functions that different flags compiled: it could keep
# the AVX-512 one for every CPU. No object of a kernel may define a weak symbol (W, V, u), and no two
# objects may define the same symbol.
#   cmake -DNM=<nm> -DOBJECTS=<a file with the names of the object files> -P CheckSymbols.cmake
file(STRINGS "${OBJECTS}" objects)
list(FILTER objects EXCLUDE REGEX "\\.gch$")  # CMake lists precompiled headers as objects
set(problems "")
set(checked 0)
foreach(object IN LISTS objects)
  execute_process(COMMAND "${NM}" -P -g --defined-only "${object}" OUTPUT_VARIABLE listing
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" lines "${listing}")
  foreach(line IN LISTS lines)
    string(REGEX MATCH "^([^ ]+) ([^ ]+)" line "${line}")
    set(symbol "${CMAKE_MATCH_1}")
    set(type "${CMAKE_MATCH_2}")
    if(type MATCHES "[WVu]")
      if(object MATCHES "/kernels/[a-z0-9_]+/")
        string(APPEND problems "\n  ${object}: ${symbol} is weak (${type})")
      endif()
    elseif(DEFINED owner_${symbol})
      string(APPEND problems "\n  ${symbol} is defined by ${owner_${symbol}} and ${object}")
    else()
      set(owner_${symbol} "${object}")
      math(EXPR checked "${checked} + 1")
    endif()
  endforeach()
endforeach()
if(problems OR checked LESS 50)
  message(FATAL_ERROR "${checked} symbols are defined once; these are not:${problems}")
endif()
message(STATUS "${checked} symbols, each defined once; no object of a kernel has a weak one")
