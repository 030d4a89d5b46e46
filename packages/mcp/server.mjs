// A real server on an empty data folder, and its API for what the tests need there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export const GOODWORD = process.env.GOODWORD;

export class Server {
	folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodword-mcp-'));
	listen = '127.0.0.1:0';

	async start() {
		const { GOODWORD_URL, GOODWORD_API_KEY, ...env } = process.env;
		const args = ['serve', '--data', this.folder, '--listen', this.listen, '--rate-limit-per-minute', '0'];
		this.child = spawn(GOODWORD, args, { env: { ...env, GOODWORD_LOG: 'warn' }, stdio: ['ignore', 'pipe', 'inherit'] });
		let shown = '';
		for await (const chunk of this.child.stdout) {
			shown += chunk;
			if (/ is ready at \S+/.test(shown)) break;
		}
		this.url = shown.match(/ is ready at (http\S+)/)?.[1] ?? fail(`the server did not start: ${shown}`);
		// Where it starts again it is at the same place.
		this.listen = new URL(this.url).host;
		this.key ??= shown.match(/gw_live_\w+/)[0];
		this.testKey ??= shown.match(/gw_test_\w+/)[0];
	}

	async stop() {
		const gone = once(this.child, 'exit');
		this.child.kill();
		await gone;
	}

	async end() {
		await this.stop();
		fs.rmSync(this.folder, { recursive: true });
	}

	async call(method, address, body) {
		const headers = { 'x-api-key': this.key, 'content-type': 'application/json' };
		const response = await fetch(this.url + address, { method, headers, body: body && JSON.stringify(body) });
		const answer = await response.json();
		return response.ok ? answer : fail(`${method} ${address}: ${JSON.stringify(answer)}`);
	}

	get = (address) => this.call('GET', address);
	post = (address, body = {}) => this.call('POST', address, body);

	/** A key with these scopes alone. */
	async keyFor(...scopes) {
		return (await this.post('/v1/api-keys', { name: scopes.join(), scopes })).secret;
	}
}

function fail(words) {
	throw new Error(words);
}
