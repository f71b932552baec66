-- Reserves room for one parcel, within a budget for all of them.
-- ARGV: parcel, bytes, budget bytes, lifetime ms. Returns nothing where it has room, or else the
-- parcels that there are.
-- stage:parcels has, for each parcel, its bytes and when it expires; what has expired is not counted.
local parcel, lifetime_ms = ARGV[1], tonumber(ARGV[4])
local t = redis.call('TIME')
local now_ms = t[1] * 1000 + math.floor(t[2] / 1000)
local room, others = tonumber(ARGV[3]) - tonumber(ARGV[2]), {}
local known = redis.call('HGETALL', 'stage:parcels')
for i = 1, #known, 2 do
  local bytes, expires_ms = string.match(known[i + 1], '(%d+) (%d+)')
  if tonumber(expires_ms) <= now_ms then
    redis.call('HDEL', 'stage:parcels', known[i])
  elseif known[i] ~= parcel then
    room = room - tonumber(bytes)
    others[#others + 1] = known[i]
  end
end
if room < 0 then return others end
local pixels = 'stage:pixels:' .. parcel
redis.call('HSET', 'stage:parcels', parcel, string.format('%s %d', ARGV[2], now_ms + lifetime_ms))
redis.call('DEL', pixels)
redis.call('RPUSH', pixels, '')
redis.call('PEXPIRE', pixels, lifetime_ms)
return {}
