-- Which of the given attempts still wait for, or are with, one of some stages?
-- ARGV: the stages, in one argument with spaces between; then incarnation, uid, chunk, attempt of
-- each. Returns a list of 0 and 1.
local answer, stages = {}, {}
for stage in string.gmatch(ARGV[1], '%S+') do stages[stage] = true end
local current = redis.call('GET', 'hr:incarnation')
for i = 2, #ARGV, 4 do
  local e = ARGV[i] == current and read_live(ARGV[i + 1], ARGV[i + 2])
  local staged = e and stages[e.stage] and e.attempt == tonumber(ARGV[i + 3])
  answer[#answer + 1] = staged and 1 or 0
end
return answer
