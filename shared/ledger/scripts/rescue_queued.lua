-- Sends back the oldest queued chunks of a queue, whose messages are lost.
-- ARGV: incarnation, queue, how many, first queue. Returns {'ok', uid, chunk, attempt, ...}
if not incarnation_matches() then return stale('incarnation') end
local rescued = {'ok'}
local count = tonumber(ARGV[3])
local oldest = redis.call('ZRANGE', 'hr:queued:' .. ARGV[2], 0, count - 1)
for _, m in ipairs(oldest) do
  local uid, chunk = string.match(m, '(%S+) (%d+)')
  local e = read_live(uid, chunk)
  if e and e.state == 'queued' and e.owner == ARGV[2] then
    rescued[#rescued + 1], rescued[#rescued + 2] = uid, chunk
    rescued[#rescued + 1] = send_back(uid, chunk, e, ARGV[4])
  else
    redis.call('ZREM', 'hr:queued:' .. ARGV[2], m)
  end
end
return rescued
