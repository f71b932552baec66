-- Queues new chunks of one job while its first queue is below its bound.
-- ARGV: incarnation, uid, first chunk, end chunk (exclusive), bound, most
-- Returns {'ok', next cursor, chunk, attempt, chunk, attempt, ...}
if not incarnation_matches() then return stale('incarnation') end
local uid, chunk, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local stage, queue = first_of(uid)
if not stage then return stale('job') end
local job = redis.call('HMGET', job_key(uid), 'cancelled', 'reopened')
local fed = {'ok', 0}
local first_attempt = 1 + 1000 * tonumber(job[2] or 0)
local room = math.min(
  tonumber(ARGV[5]) - redis.call('ZCARD', 'hr:queued:' .. queue), tonumber(ARGV[6]))
while chunk < limit and room > 0 and not job[1] do
  if redis.call('GETBIT', done_key(uid), chunk) == 0
    and not read_live(uid, chunk) then
    local e = {attempt = first_attempt, rescues = 0, refusals = 0, trial = '-'}
    enter_queue(uid, chunk, e, stage, queue)
    fed[#fed + 1], fed[#fed + 2] = chunk, first_attempt
    room = room - 1
  end
  chunk = chunk + 1
end
fed[2] = chunk
return fed
