--- Classes: a class is a callable table, its instances are plain tables with a metatable.
---
--- Every class keeps one flat table of all the methods an instance has, inherited ones included, so that
--- a method call is one miss on the instance and one hit, however deep the inheritance. Assigning on a
--- class (or on its `prototype`) writes through to the subclasses that do not define the name themselves,
--- which keeps the flat tables true to what a prototype chain would find.

---@class moonlatch.Class
---@field prototype table          what assigning on the class fills; reading it sees inherited methods too
---@field metatable table          the metatable of instances
---@field super? moonlatch.Class
---@field extend fun(self: moonlatch.Class, name?: string): moonlatch.Class
---@overload fun(...): table

local setmetatable, getmetatable, rawget, rawset = setmetatable, getmetatable, rawget, rawset
local type, pairs, next = type, pairs, next
local format = string.format

---@class moonlatch.class
---@overload fun(name: string, super?: moonlatch.Class): moonlatch.Class
local class = {}

-- What the machinery knows of each class and what no instance should see. Keys are classes.
--   own       methods the class defined itself
--   flat      own and inherited methods
--   getters   own and inherited getters, or nil when the chain has none
--   ownGetter names of the getters it defined itself
--   ancestors set of classes whose instances ours are
--   children  weak set of direct subclasses
local records = setmetatable({}, { __mode = 'k' })

local function instanceToString(self)
  return format('%s: %p', getmetatable(self).__name, self)
end

-- A class with getters resolves a name in two steps: the flat method table, then the getter.
local function useGetters(record)
  local flat, getters = record.flat, record.getters
  record.metatable.__index = function(self, key)
    local value = flat[key]
    if value ~= nil then
      return value
    end
    local get = getters[key]
    if get then
      return get(self)
    end
    return nil
  end
end

local function inheritMethod(record, key, value)
  record.flat[key] = value
  for child in pairs(record.children) do
    local below = records[child]
    if below.own[key] == nil then
      inheritMethod(below, key, value)
    end
  end
end

local function setMethod(cls, key, value)
  local record = records[cls]
  record.own[key] = value
  if value == nil and cls.super then
    value = records[cls.super].flat[key]
  end
  inheritMethod(record, key, value)
end

local function inheritGetter(record, key, get)
  if not record.getters then
    record.getters = {}
    useGetters(record)
  end
  record.getters[key] = get
  for child in pairs(record.children) do
    local below = records[child]
    if not below.ownGetter[key] then
      inheritGetter(below, key, get)
    end
  end
end

local function inheritAncestor(record, ancestor)
  record.ancestors[ancestor] = true
  for child in pairs(record.children) do
    inheritAncestor(records[child], ancestor)
  end
end

local function construct(cls, ...)
  local self = setmetatable({}, cls.metatable)
  local init = self.init
  if init then
    init(self, ...)
  end
  return self
end

local function extend(cls, name)
  return class(name or cls.__name, cls)
end

local function copyInto(target, source)
  for key, value in next, source do
    target[key] = value
  end
end

-- Metamethods such as __tostring are inherited by copying when the subclass is made.
local function newMetatable(name, cls, super)
  local metatable = { __tostring = instanceToString }
  if super then
    copyInto(metatable, super.metatable)
  end
  metatable.__name = name
  metatable.__class = cls
  return metatable
end

local function newClass(_, name, super)
  if type(name) ~= 'string' then
    error('a class needs a name', 2)
  end
  if super ~= nil and not records[super] then
    error('the superclass of ' .. name .. ' is not a class', 2)
  end
  local cls = { __name = name, super = super, extend = extend }
  local record = {
    own = {}, flat = {}, ownGetter = {}, ancestors = { [cls] = true },
    children = setmetatable({}, { __mode = 'k' }), metatable = newMetatable(name, cls, super),
  }
  records[cls] = record
  cls.metatable = record.metatable
  record.metatable.__index = record.flat
  if super then
    local above = records[super]
    copyInto(record.flat, above.flat)
    copyInto(record.ancestors, above.ancestors)
    above.children[cls] = true
    if above.getters then
      record.getters = {}
      copyInto(record.getters, above.getters)
      useGetters(record)
    end
  end
  local function assign(_, key, value)
    setMethod(cls, key, value)
  end
  cls.prototype = setmetatable({}, { __index = record.flat, __newindex = assign })
  setmetatable(cls, {
    __call = construct,
    __index = record.flat,
    __newindex = assign,
    __tostring = function()
      return 'class ' .. name
    end,
  })
  rawset(record.own, 'constructor', cls)
  rawset(record.flat, 'constructor', cls)
  return cls
end

--- Adds a computed, read-only property. A field of the same name set on an instance hides it.
---@param cls moonlatch.Class
---@param name string
---@param get fun(self: table): any
function class.getter(cls, name, get)
  local record = records[cls]
  record.ownGetter[name] = true
  inheritGetter(record, name, get)
end

--- Gives `cls` every method and getter of `source` that it does not have, and makes its instances count as
--- instances of `source`.
---@param cls moonlatch.Class
---@param source moonlatch.Class
function class.mixin(cls, source)
  local record, from = records[cls], records[source]
  for key, value in next, from.flat do
    if record.flat[key] == nil then
      setMethod(cls, key, value)
    end
  end
  for key, get in next, from.getters or {} do
    if not (record.getters and record.getters[key]) then
      class.getter(cls, key, get)
    end
  end
  for ancestor in pairs(from.ancestors) do
    inheritAncestor(record, ancestor)
  end
end

--- The class of an object made by one, else nil.
---@param object any
---@return moonlatch.Class?
function class.of(object)
  if type(object) ~= 'table' then
    return nil
  end
  local metatable = getmetatable(object)
  return type(metatable) == 'table' and rawget(metatable, '__class') or nil
end

--- Is `value` itself a class?
---@param value any
---@return boolean
function class.isClass(value)
  return value ~= nil and records[value] ~= nil
end

--- Is `object` an instance of `cls` or of a class derived from it (or mixed from it)?
---@param object any
---@param cls moonlatch.Class
---@return boolean
function class.isInstance(object, cls)
  local own = class.of(object)
  if not own or cls == nil then
    return false
  end
  return records[own].ancestors[cls] == true
end

return setmetatable(class, { __call = newClass })
