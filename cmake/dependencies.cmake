# OpenSSL 3, libev, c-ares and LuaJIT, all from the system.
find_package(PkgConfig REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
pkg_check_modules(luajit REQUIRED IMPORTED_TARGET luajit>=2.1)
pkg_check_modules(cares REQUIRED IMPORTED_TARGET libcares)

# libev ships no pkg-config file.
find_path(EV_INCLUDE_DIR ev.h PATH_SUFFIXES libev REQUIRED)
find_library(EV_LIBRARY ev REQUIRED)
add_library(ml::ev UNKNOWN IMPORTED)
set_target_properties(ml::ev PROPERTIES IMPORTED_LOCATION ${EV_LIBRARY}
                                        INTERFACE_INCLUDE_DIRECTORIES ${EV_INCLUDE_DIR})

# Headers without the library, for what ends up in the module too.
add_library(ml::lua_headers INTERFACE IMPORTED)
target_include_directories(ml::lua_headers INTERFACE ${luajit_INCLUDE_DIRS})

# The same LuaJIT as a program, to compile lua/ to bytecode.
find_program(LUAJIT luajit REQUIRED)
