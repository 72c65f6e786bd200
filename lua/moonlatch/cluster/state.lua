--- What is known of this process's part in a cluster before any other module is loaded.
local state = {}

-- "id:descriptor", set by the primary for its workers.
local VARIABLE = 'MOONLATCH_CLUSTER_WORKER'
state.variable = VARIABLE

local id, fd = (os.getenv(VARIABLE) or ''):match('^(%d+):(%d+)$')

--- The number of this worker; nil in a primary.
---@type integer?
state.id = tonumber(id)

--- The descriptor of the channel to the primary; nil in a primary.
---@type integer?
state.fd = tonumber(fd)

return state
