// node-postgres: one line for each check. With the argument "df" also what durproxy adds.
'use strict'

const { createHash } = require('node:crypto')
const { once } = require('node:events')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { Client } = require('pg')
const { from, to } = require('pg-copy-streams')
const Cursor = require('pg-cursor')

const md5 = (data) => createHash('md5').update(data).digest('hex')
const sqlstate = (promise) => promise.then(() => 'no error', (error) => error.code)

async function connected(options) {
  const client = new Client(options)
  await client.connect()
  return client
}

async function one(client, text, values) {
  const { rows } = await client.query({ text, values, rowMode: 'array' })
  return rows[0][0]
}

// The SQLSTATE of a statement that is cancelled; a cancel that comes before it has begun is lost.
async function cancelled(client, text, values) {
  const running = sqlstate(client.query(text, values))
  for (;;) {
    const canceller = new Client()
    const done = once(canceller.connection, 'end')
    canceller.cancel(client, client.activeQuery)
    await done
    const pause = new Promise((resolve) => setTimeout(resolve, 200, null))
    const ended = await Promise.race([running, pause])
    if (ended !== null) return ended
  }
}

const checks = {
  async prepared(client) {
    const sums = []
    for (let n = 0; n < 5; n++) {
      const { rows } = await client.query({
        name: 'sum', text: 'SELECT $1::int + $2::int AS sum', values: [n, 10],
      })
      sums.push(rows[0].sum)
    }
    return sums.join(' ')
  },

  async types(client) {
    const { rows } = await client.query({
      text: 'SELECT $1::int8, $2::numeric, $3::timestamptz, $4::jsonb, $5::bytea, $6::text[]',
      values: ['9007199254740993', '1.50', '2024-02-29T12:00:00Z', { a: [1, null] },
        Buffer.from([0, 255, 10]), ['é', 'a,b', null]],
      rowMode: 'array',
    })
    return JSON.stringify(rows[0])
  },

  async pipelined() {
    const client = await connected({ pipeline: true })
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) =>
      sqlstate(client.query('SELECT 10 / ($1::int % 10)', [n]))))
    await client.end()
    return `${answers.filter((state) => state === '22012').length} of ${answers.length} failed`
  },

  async batch_with_an_error(client) {
    await client.query('CREATE TEMP TABLE batch (n int PRIMARY KEY)')
    const several = 'INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (1); SELECT 1'
    const state = await sqlstate(client.query(several))
    return `${state} ${await one(client, 'SELECT count(*)::int FROM batch')}`
  },

  async error_in_a_transaction(client) {
    await client.query('BEGIN')
    const states = [await sqlstate(client.query('SELECT 1 / $1::int', [0]))]
    states.push(await sqlstate(client.query('SELECT 1')))
    await client.query('ROLLBACK')
    return `${states.join(' ')} ${await one(client, 'SELECT 7')}`
  },

  async syntax_error(client) {
    const error = await client.query("SELECT 'é', nosuch FROM pg_class").catch((error) => error)
    return `${error.code} ${error.position}`
  },

  async copy(client) {
    await client.query('CREATE TEMP TABLE copied (n int, t text)')
    const lines = Array.from({ length: 50000 }, (_, n) => `${n}\trow ${n} é\n`)
    await pipeline(Readable.from(lines), client.query(from('COPY copied FROM STDIN')))
    const chunks = []
    const out = client.query(to('COPY (SELECT * FROM copied ORDER BY n) TO STDOUT'))
    for await (const chunk of out) chunks.push(chunk)
    return md5(Buffer.concat(chunks)) === md5(lines.join('')) ? '50000 rows' : 'different'
  },

  async copy_with_an_error(client) {
    await client.query('CREATE TEMP TABLE bad (n int)')
    const sink = client.query(from('COPY bad FROM STDIN'))
    const state = await sqlstate(pipeline(Readable.from(['1\n', 'x\n']), sink))
    return `${state} ${await one(client, 'SELECT count(*)::int FROM bad')}`
  },

  async cursor(client) {
    const cursor = client.query(new Cursor('SELECT generate_series(1, 1000) AS n'))
    let sum = 0
    for (let rows = await cursor.read(100); rows.length > 0; rows = await cursor.read(100)) {
      sum += rows.reduce((total, row) => total + row.n, 0)
    }
    await cursor.close()
    return sum
  },

  async large_value(client) {
    const value = 'x'.repeat(5_000_000)
    return (await one(client, 'SELECT md5($1::text)', [value])) === md5(value)
      ? (await one(client, 'SELECT $1::text', [value])).length : 'different'
  },

  async notification(client) {
    await client.query('LISTEN checks')
    const arrived = once(client, 'notification')
    const other = await connected()
    await other.query("SELECT pg_notify('checks', 'hello')")
    await other.end()
    const [message] = await arrived
    return `${message.channel} ${message.payload}`
  },

  async cancel(client) {
    const state = await cancelled(client, 'SELECT pg_sleep($1::int)', [30])
    return `${state} ${await one(client, 'SELECT 7')}`
  },
}

const dfChecks = {
  async start(client) {
    let found
    for (let n = 0; n < 3; n++) {
      const id = (await client.query({
        name: 'start', text: "SELECT df.start($1 |=> 'x' ~> $2, $3) AS id",
        values: ['SELECT 20 AS a', 'SELECT $x.a + 1 AS b', 'node'],
      })).rows[0].id
      const state = (await client.query({
        name: 'await', text: 'SELECT df.await_instance($1, $2) AS state', values: [id, 20],
      })).rows[0].state
      const status = await one(client, 'SELECT df.status($1)', [id])
      found = `${state} ${status} ${await one(client, 'SELECT df.result($1)', [id])}`
    }
    return found
  },

  async pipelined() {
    const client = await connected({ pipeline: true })
    const ids = await Promise.all(Array.from({ length: 50 }, () =>
      one(client, 'SELECT df.start($1 ~> $2)', ['SELECT 1', 'SELECT 2'])))
    const states = await Promise.all(ids.map((id) =>
      one(client, 'SELECT df.await_instance($1, 20)', [id])))
    await client.end()
    return states.filter((state) => state === 'completed').length
  },

  async refused(client) {
    const error = await client.query("SELECT df.start($1 ~> df.break(), $2)", ['SELECT 1', 'l'])
      .catch((error) => error)
    return `${error.code} ${await one(client, 'SELECT 7')}`
  },

  async rolled_back(client) {
    await client.query('BEGIN')
    const id = await one(client, 'SELECT df.start($1)', ['SELECT 1'])
    await client.query('ROLLBACK')
    return (await one(client, 'SELECT df.status($1)', [id])) ?? 'gone'
  },

  async await_cancelled(client) {
    const id = await one(client, "SELECT df.start(df.wait_for_signal('never'))")
    const state = await cancelled(client, 'SELECT df.await_instance($1, 30)', [id])
    await client.query('SELECT df.cancel($1)', [id])
    return `${state} ${await one(client, 'SELECT 7')}`
  },
}

async function main() {
  const all = Object.entries(checks)
  if (process.argv[2] === 'df') {
    all.push(...Object.entries(dfChecks).map(([name, check]) => [`df.${name}`, check]))
  }
  for (const [name, check] of all) {
    const client = await connected()
    try {
      console.log(`${name}: ${await check(client)}`)
    } catch (error) {
      console.log(`${name}: unexpected ${error.code} ${error.message}`)
    } finally {
      await client.end()
    }
  }
}

main()
