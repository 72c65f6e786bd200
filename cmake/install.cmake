# The program, the module where luajit looks for it, the manual, and definitions for LuaLS.
install(TARGETS moonlatch RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS moonlatch_module LIBRARY DESTINATION lib/lua/5.1)
install(FILES docs/moonlatch.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
install(DIRECTORY docs/luals/ DESTINATION ${CMAKE_INSTALL_DATADIR}/moonlatch/luals
        FILES_MATCHING PATTERN "*.lua" PATTERN "*.json")
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
