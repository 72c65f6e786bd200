--- How many times longer than usual things may take: sanitizers, valgrind and busy machines make everything
--- slower, and MOONLATCH_SPEC_SLOW=10 gives ten times the time.

return tonumber(os.getenv 'MOONLATCH_SPEC_SLOW') or 1
