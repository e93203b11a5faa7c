-- Labels for rspamd that the rule "content" reads (docs/operations.md, "Content labels"): ADULT_CONTENT, REVIEW_CONTENT.
--
-- In /etc/rspamd/rspamd.local.lua:   dofile('/path/to/config/rspamd/imprimatur.lua')
-- The words are in adult.txt and review.txt beside this file; put your own into a copy. A word counts once for a message;
-- a label is set when different words add up to its limit, so that one word alone sets none. Neither has a score: what a
-- label means is for the sender's profile to say.

local rspamd_regexp = require 'rspamd_regexp'

local here = debug.getinfo(1, 'S').source:match('^@(.*/)') or './'

-- A line: a weight, then a word or phrase, as a regular expression without anchors.
local function read(name)
  local words = {}
  for line in io.lines(here .. name) do
    local weight, word = line:match('^%s*(%d+)%s+(%S.-)%s*$')
    if weight then
      local pattern = rspamd_regexp.create('/(?<!\\pL)(?:' .. word .. ')(?!\\pL)/iu')
      if pattern then words[#words + 1] = { tonumber(weight), pattern } end
    end
  end
  return words
end

local function label(symbol, name, limit)
  local words = read(name)
  rspamd_config:register_symbol({
    name = symbol,
    score = 0.0,
    group = 'imprimatur',
    callback = function(task)
      local texts = { task:get_subject() or '' }
      for _, part in ipairs(task:get_text_parts() or {}) do
        texts[#texts + 1] = tostring(part:get_content('content_oneline') or '')
      end
      local text, sum = table.concat(texts, ' '), 0
      for _, word in ipairs(words) do
        if word[2]:match(text) then sum = sum + word[1] end
        if sum >= limit then return true, 1.0 end
      end
      return false
    end,
  })
end

label('ADULT_CONTENT', 'adult.txt', 5)
label('REVIEW_CONTENT', 'review.txt', 5)
