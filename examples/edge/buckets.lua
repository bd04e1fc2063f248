-- Puts the user's bucket, 1 to 100, into a header, so that a route can send the same users to the new pods whom a flag of mode Aligned
-- lets in. It is the rule of Unleash's SDKs: murmur3 (32 bits, seed 0) of "group:user", modulo 100, plus 1.
--
-- For Envoy's Lua filter, before the gateway chooses a route. Change the next three to what your Canary and your app have:

local GROUP = "linnet" -- spec.traffic.buckets.group
local HEADER = "x-linnet-bucket" -- spec.traffic.buckets.header
local USER = "x-user" -- the header with the id that your app gives its flag SDK as userId; set by something that you trust

local bit = require("bit")
local band, bxor, lshift, rshift, rol = bit.band, bit.bxor, bit.lshift, bit.rshift, bit.rol

-- A product of two 32-bit numbers is beyond what a Lua number holds exactly, so the upper half is multiplied by itself.
local function times(a, b)
  return bit.tobit(band(a, 0xffff) * b + lshift(band(rshift(a, 16) * b, 0xffff), 16))
end

local function mixed(word)
  return times(rol(times(word, 0xcc9e2d51), 15), 0x1b873593)
end

local function murmur3(text)
  local hash, length = 0, #text
  local tail = length - length % 4
  for at = 1, tail, 4 do
    local a, b, c, d = text:byte(at, at + 3)
    hash = bxor(hash, mixed(a + lshift(b, 8) + lshift(c, 16) + lshift(d, 24)))
    hash = bit.tobit(times(rol(hash, 13), 5) + 0xe6546b64)
  end
  if length > tail then
    local a, b, c = text:byte(tail + 1, length)
    hash = bxor(hash, mixed(a + lshift(b or 0, 8) + lshift(c or 0, 16)))
  end
  hash = bxor(hash, length)
  hash = times(bxor(hash, rshift(hash, 16)), 0x85ebca6b)
  hash = times(bxor(hash, rshift(hash, 13)), 0xc2b2ae35)
  return bxor(hash, rshift(hash, 16)) % 4294967296
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove(HEADER) -- nobody chooses for himself
  local user = headers:get(USER)
  if user ~= nil and user ~= "" then
    headers:add(HEADER, tostring(murmur3(GROUP .. ":" .. user) % 100 + 1))
  end
end
