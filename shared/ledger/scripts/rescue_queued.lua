-- Sends back the oldest queued chunks of a queue, whose messages are lost.
-- ARGV: incarnation, queue, how many, pause ms. Returns {'ok', uid, chunk, attempt, ...}
if not incarnation_matches() then return stale('incarnation') end
local count = tonumber(ARGV[3])
for _, m in ipairs(redis.call('ZRANGE', 'hr:queued:' .. ARGV[2], 0, count - 1)) do
  local uid, chunk = string.match(m, '(%S+) (%d+)')
  local e = read_live(uid, chunk)
  if e and e.state == 'queued' and e.owner == ARGV[2] then
    set_aside(uid, chunk, e, 'waiting', ARGV[4])
  else
    redis.call('ZREM', 'hr:queued:' .. ARGV[2], m)
  end
end
return queue_due('waiting')
