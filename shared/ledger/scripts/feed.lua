-- Queues new chunks of one job while the queue is below its bound.
-- ARGV: incarnation, uid, first chunk, end chunk (exclusive), queue, bound, most
-- Returns {'ok', next cursor, chunk, attempt, chunk, attempt, ...}
if not incarnation_matches() then return stale('incarnation') end
local uid, chunk, limit, queue = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local job = redis.call('HMGET', job_key(uid), 'job_id', 'cancelled', 'reopened')
if not job[1] then return stale('job') end
local fed = {'ok', 0}
local first_attempt = 1 + 1000 * tonumber(job[3] or 0)
local room = math.min(
  tonumber(ARGV[6]) - redis.call('ZCARD', 'hr:queued:' .. queue), tonumber(ARGV[7]))
while chunk < limit and room > 0 and not job[2] do
  if redis.call('GETBIT', done_key(uid), chunk) == 0
    and redis.call('HEXISTS', live_key(uid), chunk) == 0 then
    local e = {
      attempt = first_attempt, losses = {preprocess = 0, inference = 0, results = 0},
      rescues = 0, refusals = 0, trial = '-'}
    enter_queue(uid, chunk, e, FIRST_STAGE, queue)
    fed[#fed + 1], fed[#fed + 2] = chunk, first_attempt
    room = room - 1
  end
  chunk = chunk + 1
end
fed[2] = chunk
return fed
