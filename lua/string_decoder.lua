--- Node's string_decoder.

return require 'moonlatch.string_decoder'
