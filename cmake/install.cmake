# The program, the module where luajit looks for it, the manual, and definitions for LuaLS: those
# are the annotated sources themselves and the globals of the program.
install(TARGETS moonlatch RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS moonlatch_module LIBRARY DESTINATION lib/lua/5.1)
install(FILES docs/moonlatch.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
set(luals_dir ${CMAKE_INSTALL_DATADIR}/moonlatch/luals)
install(FILES docs/luals/config.json DESTINATION ${luals_dir})
install(FILES docs/luals/globals.lua DESTINATION ${luals_dir}/library)
install(DIRECTORY lua/ DESTINATION ${luals_dir}/library FILES_MATCHING PATTERN "*.lua")
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md"
        PATTERN luals EXCLUDE)
