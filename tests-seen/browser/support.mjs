// Starts the demo program and a browser, and closes both after each test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';
import { after, test as nodeTest } from 'node:test';

const { DEMO, PLAYWRIGHT, CHROMIUM, SHOTS } = process.env;
const { chromium } = createRequire(path.resolve(PLAYWRIGHT, 'x'))('playwright-core');

// Longer than anything takes, also on a busy machine.
const FAR = 60e3;

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: CHROMIUM, args });
after(() => browser.close());

// Starts the demo program. Returns its URL and a function that ends it.
export async function demo(...options) {
  const child = spawn(DEMO, options, { stdio: ['pipe', 'pipe', 'ignore'] });
  const line = once(readline.createInterface(child.stdout), 'line');
  const url = await Promise.race([line, once(child, 'exit')]);
  if (typeof url[0] !== 'string') throw new Error('the demo program has ended');
  const end = async () => {
    if (child.exitCode !== null) return;
    child.stdin.end();
    await once(child, 'exit');
  };
  return { url: url[0], end };
}

// A proxy that serves a program below a prefix, which it takes away.
export async function proxy(prefix, target) {
  const server = http.createServer((request, response) => {
    const inside = request.url === prefix || request.url.startsWith(`${prefix}/`);
    if (!inside) return response.writeHead(404).end();
    const to = new URL(target);
    const path = request.url.slice(prefix.length) || '/';
    const { method, headers } = request;
    const passed = http.request({ host: to.hostname, port: to.port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    response.on('close', () => passed.destroy());
    request.pipe(passed);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const end = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, end };
}

// A test that may open pages and start programs, which are closed at its end. It fails if a page
// has an error, violates its policy, or loads something from elsewhere.
export function test(name, run) {
  nodeTest(name, { timeout: 2 * FAR }, async () => {
    const ends = [];
    const problems = [];
    const started = async (thing) => {
      const made = await thing;
      ends.push(made.end);
      return made;
    };
    const open = async (url, options = {}) => {
      const context = await browser.newContext(options);
      ends.push(() => context.close());
      const page = await context.newPage();
      page.setDefaultTimeout(FAR);
      page.on('pageerror', (error) => problems.push(`${error}`));
      page.on('console', (message) => {
        // The console also tells of answers that a test expects.
        const expected = /Failed to load resource/.test(message.text());
        if (message.type() === 'error' && !expected) problems.push(message.text());
      });
      page.on('request', (request) => {
        const here = request.url().startsWith(new URL(url).origin) || request.url().startsWith('data:');
        if (!here) problems.push(`loads ${request.url()}`);
      });
      await page.goto(url);
      return page;
    };
    try {
      await run({ open, demo: (...options) => started(demo(...options)), proxy: (...options) => started(proxy(...options)) });
    } finally {
      for (const end of ends.reverse()) await end();
    }
    if (problems.length) throw new Error(problems.join('\n'));
  });
}

// Waits until `so` returns true.
export async function eventually(so) {
  const end = Date.now() + FAR;
  while (!(await so())) {
    if (Date.now() > end) throw new Error(`the condition did not become true: ${so}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function connected(page) {
  await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor();
}

// Keeps a picture if they are wanted.
export async function picture(page, name) {
  if (SHOTS) await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
}
