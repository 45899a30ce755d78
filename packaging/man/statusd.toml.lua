-- A filter for pandoc that fits docs/configuration.md into a manual page; see scripts/config-page. A table becomes a
-- list, because no table of keys fits 80 columns.

-- Beginnings of cells in the column "default" that are not defaults.
local NO_DEFAULTS = { "^required", "^this or ", "^see " }

-- Returns the words before a cell, or nil.
local function label(column, cell, is_of_keys)
  if column ~= "default" then
    return not is_of_keys and column .. ": " or nil
  end
  for _, start in ipairs(NO_DEFAULTS) do
    if cell:find(start) then
      return nil
    end
  end
  return "default "
end

-- Returns the cells after the first. Type, default and flag of a key share a line.
local function definition(columns, cells)
  local is_of_keys = columns[1] == "key"
  local text = pandoc.List()
  for number = 2, #cells do
    if number > 2 then
      local is_on_line = is_of_keys and columns[number] ~= "meaning"
      -- A line break of pandoc ends the indentation.
      text:insert(is_on_line and pandoc.Str("; ") or pandoc.RawInline("man", "\n.br\n"))
    end
    local before = label(columns[number], pandoc.utils.stringify(cells[number]), is_of_keys)
    if before then
      text:insert(pandoc.Str(before))
    end
    text:extend(pandoc.utils.blocks_to_inlines(cells[number]))
  end
  return { pandoc.Plain(text) }
end

function Table(all)
  -- Before version 2.11 pandoc had only simple tables.
  local simple = pandoc.utils.to_simple_table and pandoc.utils.to_simple_table(all) or all
  local columns = {}
  for number, header in ipairs(simple.headers) do
    columns[number] = pandoc.utils.stringify(header)
  end
  local list = {}
  for number, cells in ipairs(simple.rows) do
    list[number] = { pandoc.utils.blocks_to_inlines(cells[1]), { definition(columns, cells) } }
  end
  return pandoc.DefinitionList(list)
end

-- Prints code in bold, as on the other pages.
function Code(code)
  return pandoc.Strong(pandoc.Str(code.text))
end

-- Replaces a link by its text, followed by the document it refers to.
function Link(link)
  local document = link.target:match("^[%w-]+%.md")
  if document then
    link.content:insert(pandoc.Str(" (docs/" .. document .. ")"))
  end
  return link.content
end

-- The page has its own title, so that its sections are one level higher.
function Header(header)
  local text = pandoc.utils.stringify(header)
  if header.level == 1 then
    return {}
  elseif header.level == 2 then
    return pandoc.Header(1, pandoc.Str(text:upper()))
  end
  return pandoc.Header(header.level - 1, pandoc.Str(text))
end
