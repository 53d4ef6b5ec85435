# Fails if an object compiled for one instruction set defines a symbol that the linker may merge with another's.
#   cmake -DNM=nm -DOBJECTS=a.o,b.o -P no_shared_code.cmake
string(REPLACE "," ";" OBJECTS "${OBJECTS}")
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" --defined-only "${object}" OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[0-9a-f]+ [WVu] [^\n]+" shared "${symbols}")
  if(shared)
    message(FATAL_ERROR "${object}: not in an unnamed namespace, so its machine code could end up in another "
                        "instruction set's place: ${shared}")
  endif()
endforeach()
