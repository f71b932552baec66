-- Sends back what is held by workers whose lease is gone, or unnamed in two renewals, and what was
-- sent back before and has waited long enough.
-- ARGV: incarnation, pause ms, then the stages at which a loss counts for nothing.
-- Returns {'ok', uid, chunk, attempt, ...}
if not incarnation_matches() then return stale('incarnation') end
local uncounted = {}
for i = 3, #ARGV do uncounted[ARGV[i]] = true end
for _, worker in ipairs(redis.call('HKEYS', 'hr:workers')) do
  local dead = redis.call('EXISTS', 'hr:lease:' .. worker) == 0
  local held = redis.call('HGETALL', 'hr:held:' .. worker)
  for i = 1, #held, 2 do
    if dead or tonumber(held[i + 1]) >= 2 then
      local uid, chunk = string.match(held[i], '(%S+) (%d+)')
      local e = read_live(uid, chunk)
      if e and e.state == 'held' and e.owner == worker then
        if not uncounted[e.stage] then
          redis.call('HINCRBY', trial_key(uid, chunk), 'losses ' .. e.stage, 1)
          if e.trial ~= '-' then
            redis.call('HINCRBY', trial_key(uid, chunk), e.stage .. ' ' .. e.trial, 1)
          end
        end
        set_aside(uid, chunk, e, 'waiting', ARGV[2])
      else
        redis.call('HDEL', 'hr:held:' .. worker, held[i])
      end
    end
  end
  if dead then redis.call('HDEL', 'hr:workers', worker) end
end
return queue_due('waiting')
