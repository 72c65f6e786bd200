--- cluster: several processes that serve the same ports, as Node has it. The primary starts workers, which run the
--- script; the listening sockets are the primary's, so a port outlives every worker.
if require('moonlatch.cluster.state').id then
  return require 'moonlatch.cluster.worker'
end
return require 'moonlatch.cluster.primary'
