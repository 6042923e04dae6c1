// Does the page of the dashboard work in a browser: by roles and names, by keyboard, on a small
// screen, with many tasks, behind a proxy, and when the connection is lost?
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';

import { connected, eventually, picture, test } from './support.mjs';

const TABLES = ['Running', 'Waiting', 'Failures', 'Worker processes', 'Background'];

const section = (page, id) =>
  page.locator('section').filter({ has: page.getByRole('heading', { level: 2, name: id, exact: true }) });
const table = (page, name) => section(page, 'shop').getByRole('table', { name, exact: true });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const rows = (page, name) => table(page, name).locator('tbody tr');
const width = (page) => page.evaluate(() => document.documentElement.scrollWidth);

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

test('everything has a role and a name', async ({ demo, open }) => {
  const { url } = await demo('--load', 'steady');
  const page = await open(url);
  await connected(page);
  await page.getByRole('heading', { level: 1, name: 'Demo shop' }).waitFor();
  assert.equal(await page.title(), 'Demo shop');
  for (const id of ['shop', 'batch']) await section(page, id).waitFor();
  for (const name of TABLES) await table(page, name).waitFor();
  await page.getByRole('searchbox', { name: 'Filter by name' }).waitFor();

  const meter = page.getByRole('meter', { name: 'shop threads', exact: true });
  await eventually(async () => (await meter.evaluate((meter) => meter.value)) === 2);
  assert.equal(await meter.evaluate((meter) => meter.max), 10);
  const processes = page.getByRole('meter', { name: 'shop processes', exact: true });
  await eventually(async () => (await processes.getAttribute('aria-valuenow')) === '1');
  assert.equal(await processes.getAttribute('aria-valuemax'), '3');

  for (const name of ['Stop thread until stopped', 'Stop process until killed', 'Kill process until killed', 'Kill future until killed', 'Cancel waiting until canceled', 'Stop cache::refresh', 'Trigger search::reindex', 'Stop cleanup']) {
    await button(page, name).waitFor();
  }
  // A thread can't be killed, and a job can be stopped only.
  assert.equal(await button(page, 'Kill thread until stopped').count(), 0);
  assert.equal(await button(page, 'Trigger cleanup').count(), 0);
  // Progress, memory and CPU.
  await page.getByRole('progressbar', { name: 'Progress of process until killed' }).waitFor();
  await table(page, 'Worker processes').getByText('MiB').waitFor();
  await table(page, 'Worker processes').getByText('%', { exact: false }).waitFor();
  await page.getByRole('img', { name: 'Queue time, p95' }).first().waitFor();
});

test('a cluster has nodes, queues and dead letters', async ({ demo, open }) => {
  const { url } = await demo('--load', 'steady');
  const page = await open(url);
  const cluster = section(page, 'Cluster memory');
  const in_ = (name) => cluster.getByRole('table', { name, exact: true }).locator('tbody tr');
  const cells = (row) => row.getByRole('cell').allTextContents();
  await in_('Nodes').filter({ hasText: 'render-1' }).waitFor();
  await eventually(async () => (await cells(in_('Nodes').first()))[5] === '1 of 5');
  const gpu = in_('Queues').filter({ hasText: 'gpu' });
  // Critical, high, normal, low, all, given out.
  await eventually(async () => (await cells(gpu)).slice(1).join() === '0,3,0,0,3,0');
  const letters = in_('Dead letters');
  await letters.filter({ hasText: 'import::dropped <b>markup</b>' }).getByText('on purpose').waitFor();
  await eventually(async () => (await letters.count()) === 2);
  // The remote task is one of its supervisor, and names its node.
  await rows(page, 'Running').filter({ hasText: 'render::running' }).getByText('node render-1').waitFor({ state: 'attached' });
  await button(page, 'Kill render::running').waitFor();

  await button(page, 'Drop import::dropped <b>markup</b>').click();
  await letters.filter({ hasText: 'import::dropped' }).waitFor({ state: 'detached' });
  await button(page, 'Retry import::retried').click();
  // It succeeds now.
  await eventually(async () => (await letters.count()) === 0);
  assert.equal(await page.getByRole('alert').count(), 0);
});

test('names and errors are shown as text', async ({ demo, open }) => {
  const { url } = await demo('--load', 'steady');
  const page = await open(url);
  await table(page, 'Waiting').getByText('waiting <b>markup</b>', { exact: true }).waitFor();
  assert.equal(await page.locator('td b, td i').count(), 0);
  const failure = rows(page, 'Failures').filter({ hasText: 'failing' }).first();
  await failure.getByText('it failed <i>on purpose</i>').first().waitFor();
  // The whole error is there, on request.
  const line = failure.locator('pre');
  assert.equal(await line.isVisible(), false);
  await failure.locator('summary').click();
  assert.match(await line.textContent(), /second line/);
  assert.equal(await line.isVisible(), true);
});

test('columns are sorted by buttons', async ({ demo, open }) => {
  const { url } = await demo('--load', 'steady');
  const page = await open(url);
  await rows(page, 'Running').nth(3).waitFor();
  const header = table(page, 'Running').getByRole('columnheader', { name: 'Name' });
  const names = () => rows(page, 'Running').locator('td:first-child span:first-child').allTextContents();
  assert.equal(await header.getAttribute('aria-sort'), 'none');
  await header.getByRole('button').click();
  assert.equal(await header.getAttribute('aria-sort'), 'ascending');
  const ascending = await names();
  assert.deepEqual(ascending, [...ascending].sort((a, b) => a.localeCompare(b)));
  await header.getByRole('button').click();
  assert.equal(await header.getAttribute('aria-sort'), 'descending');
  assert.deepEqual(await names(), ascending.reverse());
});

test('actions do what they say', async ({ demo, open }) => {
  const { url } = await demo('--load', 'steady');
  const page = await open(url);
  const gone = (name, text) => rows(page, name).filter({ hasText: text }).waitFor({ state: 'detached' });
  await button(page, 'Cancel waiting until canceled').click();
  await gone('Waiting', 'waiting until canceled');
  await button(page, 'Stop thread until stopped').click();
  await gone('Running', 'thread until stopped');
  await button(page, 'Kill process until killed').click();
  await gone('Running', 'process until killed');
  await button(page, 'Kill future until killed').click();
  await gone('Running', 'future until killed');
  const worker = rows(page, 'Background').filter({ hasText: 'search::reindex' });
  await button(page, 'Trigger search::reindex').click();
  await worker.getByRole('cell', { name: '1', exact: true }).waitFor();
  await button(page, 'Stop search::reindex').click();
  await button(page, 'Start search::reindex').click();
  await button(page, 'Trigger search::reindex').waitFor();
  await button(page, 'Stop cleanup').click();
  await gone('Background', 'cleanup');
  assert.equal(await page.getByRole('alert').count(), 0);
});

test('a failed action is told in an alert', async ({ demo, open }) => {
  const { url } = await demo('--load', 'steady');
  const page = await open(url);
  await button(page, 'Cancel waiting until canceled').waitFor();
  // Canceled by another client, before the page learns of it.
  await page.evaluate(async () => {
    const all = [...document.querySelectorAll('button')];
    const one = all.find((button) => button.getAttribute('aria-label') === 'Cancel waiting until canceled');
    const state = await (await fetch('api/state')).json();
    const task = state.supervisors[0].waiting.find(({ name }) => name === 'waiting until canceled');
    await fetch(`api/tasks/${task.id}/cancel`, { method: 'POST', headers: { 'x-atasker': '1' } });
    one.click();
  });
  const alert = page.getByRole('alert');
  await alert.filter({ hasText: 'Cancel waiting until canceled: there is no such task' }).waitFor();
  await alert.getByRole('button', { name: 'Dismiss' }).click();
  assert.equal(await alert.count(), 0);
});

test('the keyboard suffices', async ({ demo, open }) => {
  const { url } = await demo('--load', 'steady');
  const page = await open(url);
  await rows(page, 'Running').nth(3).waitFor();
  const focused = () => page.evaluate(() => {
    const { activeElement: of } = document;
    return of.getAttribute('aria-label') || of.textContent;
  });
  const tabTo = async (name) => {
    for (let n = 0; n < 200; n++) {
      if ((await focused()) === name) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`Tab does not reach ${name}`);
  };
  await tabTo('Filter by name');
  await page.keyboard.type('until');
  await rows(page, 'Running').filter({ hasText: 'deaf' }).waitFor({ state: 'detached' });
  assert.equal(await rows(page, 'Running').count(), 3);
  await tabTo('Age');
  await page.keyboard.press('Enter');
  const age = table(page, 'Running').getByRole('columnheader', { name: 'Age' });
  assert.equal(await age.getAttribute('aria-sort'), 'ascending');
  await tabTo('Cancel waiting until canceled');
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, 'none');
  // The page is updated meanwhile: rows before and after change.
  await page.waitForTimeout(2500);
  assert.equal(await focused(), 'Cancel waiting until canceled');
  await page.keyboard.press('Enter');
  await rows(page, 'Waiting').filter({ hasText: 'waiting until canceled' }).waitFor({ state: 'detached' });
});

test('a small screen needs no scrolling sideways, in light and dark', async ({ demo, open }) => {
  const { url } = await demo('--load', 'busy');
  const grounds = [];
  for (const colorScheme of ['light', 'dark']) {
    for (const [name, size] of [['small', { width: 360, height: 740 }], ['large', { width: 1280, height: 900 }]]) {
      const page = await open(url, { viewport: size, colorScheme });
      await connected(page);
      await rows(page, 'Failures').first().waitFor();
      await page.waitForTimeout(2500);
      assert.ok((await width(page)) <= size.width, `${await width(page)}`);
      for (const name of TABLES) assert.equal(await table(page, name).isVisible(), true);
      if (name === 'small') grounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await picture(page, `busy-${name}-${colorScheme}`);
      await table(page, 'Failures').scrollIntoViewIfNeeded();
      await picture(page, `busy-${name}-${colorScheme}-below`);
      await section(page, 'Cluster memory').scrollIntoViewIfNeeded();
      await picture(page, `busy-${name}-${colorScheme}-cluster`);
      await page.context().close();
    }
  }
  assert.notEqual(grounds[0], grounds[1]);
});

test('a hundred thousand tasks wait', async ({ demo, open }) => {
  const { url } = await demo('--load', 'crowd');
  const page = await open(url, { viewport: { width: 360, height: 740 } });
  await connected(page);
  await table(page, 'Waiting').locator('xpath=..').getByText(/^100,\d{3} · first 500 listed$/).waitFor();
  assert.ok((await width(page)) <= 360);
  assert.equal(await rows(page, 'Waiting').count(), 20);
  await button(page, 'Show all 500').click();
  assert.equal(await rows(page, 'Waiting').count(), 500);
  await page.getByRole('searchbox').fill('crowd 7');
  await eventually(async () => {
    const texts = await rows(page, 'Waiting').allTextContents();
    return texts.length > 0 && texts.every((text) => text.startsWith('crowd 7'));
  });
  // The page goes on.
  const finished = () => section(page, 'shop').getByText(/completed/).first().textContent();
  const before = await finished();
  await eventually(async () => (await finished()) !== before);
  await connected(page);
  await picture(page, 'crowd-small');
});

test('nothing to show is said', async ({ demo, open }) => {
  const { url } = await demo('--load', 'none');
  const page = await open(url);
  await connected(page);
  for (const name of TABLES) assert.equal(await rows(page, name).count(), 0);
  await picture(page, 'empty');
});

test('a lost connection is told and comes back by itself', async ({ demo, open }) => {
  const options = ['--addr', `127.0.0.1:${await freePort()}`, '--load', 'steady'];
  const first = await demo(...options);
  const page = await open(first.url);
  await connected(page);
  await first.end();
  await page.getByRole('status').filter({ hasText: /^Connection lost$/ }).waitFor();
  await picture(page, 'lost');
  await demo(...options);
  await connected(page);
  await button(page, 'Stop thread until stopped').waitFor();
});

test('a token is asked for', async ({ demo, open }) => {
  const options = ['--addr', `127.0.0.1:${await freePort()}`, '--token', 'open sesame', '--load', 'steady'];
  const first = await demo(...options);
  const page = await open(first.url);
  const token = page.getByRole('textbox', { name: 'Token' });
  await picture(page, 'sign-in');
  await token.fill('wrong');
  await button(page, 'Sign in').click();
  await page.getByRole('alert').filter({ hasText: 'the token is wrong' }).waitFor();
  await token.fill('open sesame');
  await token.press('Enter');
  await connected(page);
  assert.equal(page.url(), first.url);
  assert.equal(await page.evaluate(() => document.cookie), '');
  await button(page, 'Stop thread until stopped').click();
  await rows(page, 'Running').filter({ hasText: 'thread until stopped' }).waitFor({ state: 'detached' });
  // A program that was started again does not know the cookie.
  await first.end();
  await demo(...options);
  await token.waitFor();
});

test('a dashboard that is read only has no buttons for actions', async ({ demo, open }) => {
  const { url } = await demo('--read-only', '--load', 'steady');
  const page = await open(url);
  await rows(page, 'Running').nth(3).waitFor();
  await rows(page, 'Background').nth(3).waitFor();
  assert.equal(await page.getByRole('button', { name: /^(Stop|Cancel|Kill|Start|Trigger|Retry|Drop) / }).count(), 0);
});

test('the page works wherever it is nested, also behind a proxy', async ({ demo, open, proxy }) => {
  const served = await demo('--load', 'steady', '--token', 's3cret');
  const nested = await demo('--load', 'steady', '--token', 's3cret', '--nest', 'nest');
  const service = await demo('--load', 'steady', '--token', 's3cret', '--nest', 'nest_service');
  const before = async (url) => (await proxy('/a/proxy', new URL(url).origin)).url;
  const urls = [
    served.url,
    nested.url,
    service.url,
    `${service.url}/`,
    `${await before(served.url)}/a/proxy`,
    `${await before(served.url)}/a/proxy/`,
    `${await before(nested.url)}/a/proxy/tasks`,
    `${await before(service.url)}/a/proxy/tasks/`,
  ];
  for (const url of urls) {
    const page = await open(url);
    await page.getByRole('textbox', { name: 'Token' }).fill('s3cret');
    await button(page, 'Sign in').click();
    await connected(page);
    assert.equal(page.url().replace(/\/$/, ''), url.replace(/\/$/, ''));
    // Reads and writes find their way.
    const stop = button(page, 'Stop deaf thread');
    await stop.waitFor();
    const answered = page.waitForResponse((response) => response.request().method() === 'POST');
    await stop.click();
    assert.equal((await answered).status(), 204, url);
    const history = await page.waitForResponse((response) => response.url().includes('api/history'));
    assert.equal(history.status(), 200, url);
    await page.context().close();
  }
});
