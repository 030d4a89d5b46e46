// A Goodword server of one's own, on a free port, with its data in a folder that goes away.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';

export const PUBLIC_URL = 'https://refer.example.com';

export async function goodword(...more) {
  const binary = process.env.GOODWORD;
  if (!binary) throw new Error('GOODWORD: the path of the goodword program. ci.sh sets it.');
  const data = mkdtempSync(path.join(os.tmpdir(), 'goodword-make-'));
  // Make would be on the public internet; here the hooks are on this machine, which an operator must allow.
  const flags = ['--listen', '127.0.0.1:0', '--public-url', PUBLIC_URL, '--allow-networks', '127.0.0.0/8', '--data', data, ...more];
  const child = spawn(binary, ['serve', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve, reject) => {
    const listen = (chunk) => {
      said += chunk;
      if (/"listen":"[^"]+"/.test(said) && /gw_test_\w+/.test(said)) resolve();
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    ended.then((code) => reject(new Error(`goodword ended with ${code}:\n${said}`)));
  });
  const url = `http://${/"listen":"([^"]+)"/.exec(said)[1]}`;
  const key = /gw_test_\w+/.exec(said)[0];

  /** The API without anything of Make in between: what the assertions ask. */
  async function api(method, route, body) {
    const headers = { 'x-api-key': key, ...(body && { 'content-type': 'application/json' }) };
    const response = await fetch(url + route, { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    const answer = text ? JSON.parse(text) : undefined;
    if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${text}`);
    return answer;
  }

  async function stop() {
    child.kill('SIGTERM');
    await ended;
    rmSync(data, { recursive: true, force: true });
  }
  return { url, key, api, stop };
}

/** An address that takes what is posted to it, as Make's hook.eu1.make.com does. */
export async function mailbox() {
  const received = [];
  const status = { now: 200 };
  const server = http.createServer(async (request, response) => {
    let raw = '';
    for await (const chunk of request) raw += chunk;
    received.push({ headers: request.headers, body: JSON.parse(raw), raw });
    response.writeHead(status.now).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/abc123`;
  const next = (wanted = () => true) => until(() => received.find(wanted), 'nothing like that was delivered');
  return { url, received, status, next, close: () => server.close() };
}

export async function until(look, otherwise) {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(otherwise);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
