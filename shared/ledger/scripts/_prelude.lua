-- Shared by every script: it is put before each one's text.
-- ARGV[1] is the caller's incarnation; a script does nothing for another.
-- A live entry is one line:  state stage attempt owner losses_preprocess losses_inference losses_results
--   state: queued | held;  owner: the queue's name, or the worker that holds it
-- Keys are built here and not passed as KEYS: the ledger is one server, never a cluster.
local FIRST_STAGE = 'preprocess'

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
local function job_key(uid) return 'hr:job:' .. uid end
local function member(uid, chunk) return uid .. ' ' .. chunk end

local function read_live(uid, chunk)
  local line = redis.call('HGET', live_key(uid), chunk)
  if not line then return nil end
  local f = {}
  for word in string.gmatch(line, '%S+') do f[#f + 1] = word end
  return {
    state = f[1], stage = f[2], attempt = tonumber(f[3]), owner = f[4],
    losses = {preprocess = tonumber(f[5]), inference = tonumber(f[6]), results = tonumber(f[7])},
  }
end

local function write_live(uid, chunk, e)
  local l = e.losses
  redis.call('HSET', live_key(uid), chunk, table.concat({
    e.state, e.stage, e.attempt, e.owner, l.preprocess, l.inference, l.results}, ' '))
end

local function leave_owner(uid, chunk, e)
  if e.state == 'held' then
    redis.call('HDEL', 'hr:held:' .. e.owner, member(uid, chunk))
  else
    redis.call('ZREM', 'hr:queued:' .. e.owner, member(uid, chunk))
  end
end

local function enter_queue(uid, chunk, e, stage, queue)
  e.state, e.stage, e.owner = 'queued', stage, queue
  redis.call('ZADD', 'hr:queued:' .. queue, now_ms(), member(uid, chunk))
  write_live(uid, chunk, e)
end

-- The one form of rescue: back to the first stage, one attempt on.
local function send_back(uid, chunk, e, queue)
  leave_owner(uid, chunk, e)
  e.attempt = e.attempt + 1
  enter_queue(uid, chunk, e, FIRST_STAGE, queue)
  return e.attempt
end

local function become_done(uid, chunk, e)
  if e then
    leave_owner(uid, chunk, e)
    redis.call('HDEL', live_key(uid), chunk)
  end
  redis.call('SETBIT', done_key(uid), chunk, 1)
end

local function held_by(e, stage, attempt, worker)
  return e and e.state == 'held' and e.stage == stage and e.attempt == attempt
    and e.owner == worker
end
