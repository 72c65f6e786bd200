/* native.channel: messages between the processes of a cluster. */
#include "channel.h"

#include <unistd.h>

#include "bindings.h"

#define CLASS_NAME "moonlatch.channel"

struct channel {
  struct ml_object object;
  struct ml_channel *native; /* NULL once closed */
};

static void let_go(struct channel *channel)
{
  struct ml_channel *native = channel->native;
  if (!native) return;
  channel->native = NULL;
  ml_object_release(&channel->object);
  ml_channel_close(native);
}

struct message {
  struct channel *channel;
  const uint8_t *data;
  size_t len;
  int fd;
  bool taken; /* the descriptor is the handler's */
};

static void emit_message(lua_State *L, void *arg)
{
  struct message *message = arg;
  struct ml_object *object = &message->channel->object;
  if (!ml_push_handler(L, object->vm, ML_CLASS_CHANNEL, ML_ON_READ)) return;
  ml_object_push_owner(L, object);
  lua_pushlstring(L, (const char *)message->data, message->len);
  if (message->fd >= 0)
    lua_pushinteger(L, message->fd);
  else
    lua_pushnil(L);
  message->taken = true;
  lua_call(L, 3, 0);
}

static void on_message(struct ml_channel *native, const uint8_t *data, size_t len, int fd)
{
  struct channel *channel = ml_channel_user(native);
  struct message message = {channel, data, len, fd, false};
  ml_enter(channel->object.vm, emit_message, &message);
  if (!message.taken && fd >= 0) close(fd);
}

struct ending {
  struct channel *channel;
  const struct ml_error *err;
};

static void emit_end(lua_State *L, void *arg)
{
  const struct ending *ending = arg;
  struct ml_object *object = &ending->channel->object;
  if (!ml_push_handler(L, object->vm, ML_CLASS_CHANNEL, ML_ON_END)) return;
  ml_object_push_owner(L, object);
  if (ending->err)
    ml_push_error(L, ending->err);
  else
    lua_pushnil(L);
  lua_call(L, 2, 0);
}

static void on_end(struct ml_channel *native, const struct ml_error *err)
{
  struct channel *channel = ml_channel_user(native);
  struct ending ending = {channel, err};
  ml_enter(channel->object.vm, emit_end, &ending);
}

static const struct ml_channel_events events = {on_message, on_end};

/* channel(owner, fd) → channel | nil, Error. The descriptor is the channel's from then on. */
static int channel_new(lua_State *L)
{
  struct ml_error err;
  luaL_checktype(L, 1, LUA_TTABLE);
  int fd = (int)luaL_checkinteger(L, 2);
  struct channel *channel = ml_object_new(L, sizeof(*channel));
  if (ml_channel_open(&channel->native, channel->object.vm->loop, fd, &events, channel, &err) != 0)
    return ml_fail(L, &err);
  ml_object_anchor(L, &channel->object, 1);
  return 1;
}

/* channelPair() → fd, fd | nil, Error: the two ends, both the caller's */
static int native_channel_pair(lua_State *L)
{
  int fds[2];
  struct ml_error err;
  if (ml_channel_pair(fds, &err) != 0) return ml_fail(L, &err);
  lua_pushinteger(L, fds[0]);
  lua_pushinteger(L, fds[1]);
  return 2;
}

static int push_done(lua_State *L, int failed, const struct ml_error *err)
{
  if (failed) return ml_fail(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* The native channel; NULL, and the error filled in, once it is closed. */
static struct ml_channel *open_self(lua_State *L, struct ml_error *err)
{
  struct channel *channel = ml_object_self(L);
  if (!channel->native) ml_error_misuse(err, "ERR_IPC_CHANNEL_CLOSED", "Channel closed");
  return channel->native;
}

/* send(bytes [, fd]) → true | nil, Error. The descriptor stays the caller's. */
static int channel_send(lua_State *L)
{
  size_t len;
  struct ml_error err;
  struct ml_channel *native = open_self(L, &err);
  const char *data = luaL_checklstring(L, 2, &len);
  int fd = (int)luaL_optinteger(L, 3, -1);
  if (!native) return ml_fail(L, &err);
  return push_done(L, ml_channel_send(native, (const uint8_t *)data, len, fd, &err), &err);
}

/* wait() → true | nil, Error: blocks until a message has been delivered */
static int channel_wait(lua_State *L)
{
  struct ml_error err;
  struct ml_channel *native = open_self(L, &err);
  if (!native) return ml_fail(L, &err);
  return push_done(L, ml_channel_wait(native, &err), &err);
}

static int channel_ref(lua_State *L)
{
  struct channel *channel = ml_object_self(L);
  if (channel->native) ml_channel_ref(channel->native, true);
  return 0;
}

static int channel_unref(lua_State *L)
{
  struct channel *channel = ml_object_self(L);
  if (channel->native) ml_channel_ref(channel->native, false);
  return 0;
}

/* close(): idempotent */
static int channel_close(lua_State *L)
{
  let_go(ml_object_self(L));
  return 0;
}

static int channel_gc(lua_State *L)
{
  struct channel *channel = ml_object_self(L);
  if (channel->object.vm->loop) let_go(channel);
  return 0;
}

static const luaL_Reg methods[] = {
    {"send", channel_send},   {"wait", channel_wait},   {"ref", channel_ref},
    {"unref", channel_unref}, {"close", channel_close}, {NULL, NULL},
};

void ml_open_channel(lua_State *L)
{
  ml_class_register(L, CLASS_NAME, methods, channel_gc);
  ml_class_constructor(L, lua_gettop(L), channel_new);
  lua_setfield(L, 1, "channel");
  lua_pop(L, 1);
  lua_pushcfunction(L, native_channel_pair);
  lua_setfield(L, 1, "channelPair");
}
