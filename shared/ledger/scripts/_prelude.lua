-- Shared by every script: it is put before each one's text.
-- ARGV[1] is the caller's incarnation; a script does nothing for another.
-- A change of the layout raises VERSION in shared/stages.py.
-- A live entry is one line:
--   state stage attempt owner rescues refusals trial since
--   state: queued | held | waiting (to be queued again) | refused (to be given up)
--   owner: the queue's name, the worker that holds it, or -
--   trial: the place in the chunk of the item that its holder runs alone, or -
--   since: when it came into this state, or its trial was noted, in milliseconds
-- Beside it, where anything was counted, is a hash with a count of lost holders for each stage, and of
-- lost runs for each item: "losses STAGE" and "STAGE ITEM".
-- The stages are the callers': no script knows one by name. A job's own hash has its first stage and
-- that stage's queue.
-- Keys are built here and not passed as KEYS: the ledger is one server, never a cluster.

local function stale(reason)
  redis.call('HINCRBY', 'hr:stale', reason, 1)
  return {'stale', reason}
end

local function incarnation_matches()
  return redis.call('GET', 'hr:incarnation') == ARGV[1]
end

-- The broker's clock, never a client's.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function live_key(uid) return 'hr:' .. uid .. ':live' end
local function done_key(uid) return 'hr:' .. uid .. ':done' end
local function trial_key(uid, chunk) return 'hr:' .. uid .. ':trial:' .. chunk end
local function job_key(uid) return 'hr:job:' .. uid end
local function member(uid, chunk) return uid .. ' ' .. chunk end

-- nil where there is no entry, or none that can be read.
local function read_live(uid, chunk)
  local f = {}
  for word in string.gmatch(redis.call('HGET', live_key(uid), chunk) or '', '%S+') do
    f[#f + 1] = word
  end
  if #f ~= 8 then return nil end
  return {
    state = f[1], stage = f[2], attempt = tonumber(f[3]), owner = f[4],
    rescues = tonumber(f[5]), refusals = tonumber(f[6]), trial = f[7], since = f[8],
  }
end

local function write_live(uid, chunk, e)
  redis.call('HSET', live_key(uid), chunk, table.concat({
    e.state, e.stage, e.attempt, e.owner, e.rescues, e.refusals, e.trial, e.since}, ' '))
end

-- Nothing where the job is not open here.
local function first_of(uid)
  return unpack(redis.call('HMGET', job_key(uid), 'first_stage', 'first_queue'))
end

local function leave_owner(uid, chunk, e)
  if e.state == 'held' then
    redis.call('HDEL', 'hr:held:' .. e.owner, member(uid, chunk))
  elseif e.state == 'queued' then
    redis.call('ZREM', 'hr:queued:' .. e.owner, member(uid, chunk))
  else
    redis.call('ZREM', 'hr:' .. e.state, member(uid, chunk))
  end
  e.trial = '-'
end

local function enter_queue(uid, chunk, e, stage, queue)
  e.state, e.stage, e.owner, e.since = 'queued', stage, queue, now_ms()
  redis.call('ZADD', 'hr:queued:' .. queue, e.since, member(uid, chunk))
  write_live(uid, chunk, e)
end

-- The chunk is live no longer, or its job is not.
local function forget_live(uid, chunk)
  local e = read_live(uid, chunk)
  if e then leave_owner(uid, chunk, e) end
  redis.call('HDEL', live_key(uid), chunk)
  redis.call('DEL', trial_key(uid, chunk))
end

-- A rescued chunk is due at once the first time, then after one pause, and after twice as long each
-- further time, up to thirty pauses: what is lost again and again must not keep all others busy.
-- Until then its stage is the one that it was lost at.
local function set_aside(uid, chunk, e, state, pause_ms)
  leave_owner(uid, chunk, e)
  e.state, e.owner = state, '-'
  e.attempt, e.rescues = e.attempt + 1, e.rescues + 1
  local due = now_ms()
  e.since = due
  if e.rescues > 1 then due = due + pause_ms * math.min(2 ^ (e.rescues - 2), 30) end
  redis.call('ZADD', 'hr:' .. state, due, member(uid, chunk))
  write_live(uid, chunk, e)
end

-- Queues what was set aside in ``state`` and is due: for ``stage`` on ``queue``, or where these are
-- nil for the job's first stage. Returns {'ok', uid, chunk, attempt, ...}
local function queue_due(state, stage, queue)
  local queued = {'ok'}
  for _, m in ipairs(redis.call('ZRANGE', 'hr:' .. state, '-inf', now_ms(), 'BYSCORE')) do
    local uid, chunk = string.match(m, '(%S+) (%d+)')
    local e, to_stage, to_queue = read_live(uid, chunk), stage, queue
    if not to_stage then to_stage, to_queue = first_of(uid) end
    if not e or e.state ~= state then
      redis.call('ZREM', 'hr:' .. state, m)
    elseif to_stage then -- else it waits until the producer has opened the job
      leave_owner(uid, chunk, e)
      enter_queue(uid, chunk, e, to_stage, to_queue)
      queued[#queued + 1], queued[#queued + 2], queued[#queued + 3] = uid, chunk, e.attempt
    end
  end
  return queued
end

local function become_done(uid, chunk)
  if redis.call('HEXISTS', live_key(uid), chunk) == 1 then forget_live(uid, chunk) end
  redis.call('SETBIT', done_key(uid), chunk, 1)
end

local function held_by(e, stage, attempt, worker)
  return e and e.state == 'held' and e.stage == stage and e.attempt == attempt
    and e.owner == worker
end
