-- What bench/run has measured, printed by bench/report.
local fs = require 'fs'

-- Three rounds of two servers: scenario, round, server, figure, value.
local FIGURES = {
  '#\tmachine\t2 cores',
  'request-64\t1\tceiling\trate\t1000', 'request-64\t1\tceiling\tserver_us\t10',
  'request-64\t2\tceiling\trate\t3000', 'request-64\t2\tceiling\tserver_us\t10',
  'request-64\t3\tceiling\trate\t2000', 'request-64\t3\tceiling\tserver_us\t10',
  'request-64\t1\tmoonlatch\trate\t500', 'request-64\t1\tmoonlatch\tserver_us\t20',
  'request-64\t2\tmoonlatch\trate\t1500', 'request-64\t2\tmoonlatch\tserver_us\t11',
  'request-64\t3\tmoonlatch\trate\t4000', 'request-64\t3\tmoonlatch\tserver_us\t11',
  'request-64\t3\tmoonlatch\tclient_cpu\t0.99', 'request-64\t3\tmoonlatch\tserver_cpu\t0.5',
}

describe('bench/report', function()
  local dir, figures

  before_each(function()
    dir = fs.mkdtempSync '/tmp/moonlatch-bench-'
    figures = dir .. '/results.tsv'
    fs.writeFileSync(figures, table.concat(FIGURES, '\n') .. '\n')
  end)

  after_each(function()
    fs.rmSync(dir, { recursive = true })
  end)

  local function report(options)
    local pipe = assert(io.popen(('bench/report %s %s 2>&1'):format(options, figures)))
    local output = pipe:read '*a'
    assert.is_true(pipe:close())
    return output
  end

  local function row(text, name)
    return text:match('\n  ' .. name .. '%s+([^\n]+)')
  end

  it('prints the median of the rounds, and the median of their ratios', function()
    local output = report ''
    assert.equal('2000 0.50', row(output, 'ceiling'):gsub('%s+', ' '):match '^%S+ %S+')
    assert.equal('1500 1.00', row(output, 'moonlatch'):gsub('%s+', ' '):match '^%S+ %S+')
  end)

  it('marks a rate that is the client\'s', function()
    local output = report ''
    assert.matches('client%-bound', row(output, 'moonlatch'))
    assert.not_matches('client%-bound', row(output, 'ceiling'))
  end)

  it('says what was to be reached and by how much it was missed', function()
    assert.matches('moonlatch / ceiling%s+1%.10%s+at most 1%.20: yes', report '')
    fs.appendFileSync(figures, 'idle\t1\tmoonlatch\tprivate_per_conn\t12000\n')
    assert.matches('12000%s+at most 10000: no, %+20 %%', report '')
  end)

  it('writes tables between the marks of a page and leaves the rest alone', function()
    local page = dir .. '/page.md'
    fs.writeFileSync(page, 'before\n\n<!-- figures -->\nold\n<!-- end of figures -->\n\nafter\n')
    report('--markdown=' .. page)
    local text = fs.readFileSync(page, 'utf8')
    assert.matches('^before\n\n<!%-%- figures %-%->\n', text)
    assert.matches('| 2000 | 1500%* |', text)
    assert.matches('\n<!%-%- end of figures %-%->\n\nafter\n$', text)
    assert.not_matches('\nold\n', text)
    report('--markdown=' .. page)
    assert.equal(text, fs.readFileSync(page, 'utf8'))
  end)

  it('draws a bar for each server', function()
    local drawing = dir .. '/figures.svg'
    report('--svg=' .. drawing)
    local text = fs.readFileSync(drawing, 'utf8')
    assert.matches('^<svg xmlns=.*</svg>\n$', text)
    local _, bars = text:gsub('<rect x=', '')
    assert.equal(2, bars)
  end)
end)
