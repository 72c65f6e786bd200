/* What vm.c offers the program and the module besides bindings.h. */
#ifndef ML_VM_H
#define ML_VM_H

#include "bindings.h"

/* Pushes the table of native functions, require 'moonlatch.native'; made on first use. */
void ml_push_native(lua_State *L);

/* Makes `L` the state that callbacks run on while `step(vm, arg)` runs, in an outermost entry of
 * its own: ticks drain after each of its callbacks although a script may be on the stack. Every
 * call into the loop is made through it. */
int ml_vm_on(lua_State *L, struct ml_vm *vm, int (*step)(struct ml_vm *vm, void *arg), void *arg);

#endif
