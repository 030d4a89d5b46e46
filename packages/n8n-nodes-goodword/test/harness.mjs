// What the end-to-end test needs: the real Goodword server, the real n8n, and a place that
// takes what workflows send out. Nothing but Node.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `look` gives something true, and gives that. */
export async function until(what, look, seconds = 30) {
	const end = Date.now() + seconds * 1000;
	let last;
	while (Date.now() < end) {
		try {
			const found = await look();
			if (found) return found;
		} catch (error) {
			last = error;
		}
		await sleep(100);
	}
	throw new Error(`waited ${seconds} s in vain: ${what}${last ? ` (${last.message})` : ''}`);
}

export const freePort = () =>
	new Promise((done, fail) => {
		const server = net.createServer();
		server.on('error', fail);
		server.listen(0, '127.0.0.1', () => {
			const { port } = server.address();
			server.close(() => done(port));
		});
	});

/** Tests one after the other, counted. */
export class Tests {
	passed = 0;
	failed = 0;

	async run(name, body) {
		const start = Date.now();
		try {
			await body();
			this.passed += 1;
			console.log(`ok      ${name} (${Date.now() - start} ms)`);
		} catch (error) {
			this.failed += 1;
			console.log(`FAILED  ${name}\n${String(error.stack ?? error).replace(/^/gm, '        ')}`);
			return false;
		}
		return true;
	}

	/** A test without which the others make no sense. */
	async must(name, body) {
		if (!(await this.run(name, body))) throw new Error(`"${name}" has failed: no more is tried`);
	}
}

async function end(child) {
	if (!child || child.exitCode !== null) return;
	const gone = new Promise((done) => child.once('exit', done));
	child.kill('SIGTERM');
	await Promise.race([gone, sleep(15_000).then(() => child.kill('SIGKILL'))]);
}

/** The real server, on an empty data folder. */
export class Goodword {
	constructor(binary, folder, port) {
		Object.assign(this, { binary, folder, port, url: `http://127.0.0.1:${port}`, output: '' });
	}

	async start(more = []) {
		const args = ['serve', '--data', this.folder, '--listen', `127.0.0.1:${this.port}`, ...more];
		this.child = spawn(this.binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
		for (const stream of [this.child.stdout, this.child.stderr]) {
			stream.on('data', (chunk) => (this.output += chunk));
		}
		await until('the Goodword server starts', async () => {
			if (this.child.exitCode !== null) throw new Error(this.output);
			return (await fetch(`${this.url}/readyz`)).ok;
		});
		const key = (side) => this.output.match(new RegExp(`gw_${side}_\\w+`))?.[0];
		this.liveKey ??= await until('the keys of the first start', () => key('live'));
		this.testKey ??= key('test');
	}

	stop = () => end(this.child);

	async call(method, address, body, key = this.liveKey) {
		const response = await fetch(this.url + address, {
			method,
			headers: { 'x-api-key': key, 'content-type': 'application/json' },
			body: body === undefined ? undefined : JSON.stringify(body),
		});
		const text = await response.text();
		if (!response.ok) throw new Error(`${method} ${address}: ${response.status} ${text}`);
		return text ? JSON.parse(text) : undefined;
	}

	get = (address, key) => this.call('GET', address, undefined, key);
	post = (address, body = {}, key) => this.call('POST', address, body, key);
	endpoints = async () => (await this.get('/v1/endpoints?limit=100')).data;
}

/** The real n8n, with the packed package in its nodes folder. */
export class N8n {
	constructor({ n8n, folder, port, brokerPort }) {
		Object.assign(this, { n8n, folder, port, url: `http://127.0.0.1:${port}`, log: '' });
		// With its publication service (2.40), n8n asks the server when a workflow is activated only.
		this.asksAtStart = JSON.parse(fs.readFileSync(path.join(path.dirname(n8n), '../package.json'))).version === '2.4.8';
		this.env = {
			PATH: process.env.PATH,
			HOME: process.env.HOME,
			N8N_USER_FOLDER: folder,
			N8N_ENCRYPTION_KEY: 'end-to-end',
			DB_TYPE: 'sqlite',
			N8N_HOST: '127.0.0.1',
			N8N_LISTEN_ADDRESS: '127.0.0.1',
			N8N_PORT: String(port),
			N8N_RUNNERS_BROKER_PORT: String(brokerPort),
			WEBHOOK_URL: `http://127.0.0.1:${port}/`,
			N8N_DIAGNOSTICS_ENABLED: 'false',
			N8N_VERSION_NOTIFICATIONS_ENABLED: 'false',
			N8N_TEMPLATES_ENABLED: 'false',
			N8N_PERSONALIZATION_ENABLED: 'false',
			N8N_VERIFIED_PACKAGES_ENABLED: 'false',
			N8N_DISABLE_UI: process.env.N8N_DISABLE_UI ?? 'true',
			N8N_SECURE_COOKIE: 'false',
			N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS: 'false',
		};
	}

	install(tarball) {
		const nodes = path.join(this.folder, '.n8n/nodes');
		fs.mkdirSync(nodes, { recursive: true });
		const manifest = { name: 'installed-nodes', private: true, dependencies: {} };
		fs.writeFileSync(path.join(nodes, 'package.json'), JSON.stringify(manifest));
		const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--legacy-peer-deps', '--no-save'];
		const done = spawnSync('npm', ['install', ...flags, tarball], { cwd: nodes, encoding: 'utf8' });
		if (done.status !== 0) throw new Error(done.stderr);
	}

	/** A command of n8n's own, while the server does not run. */
	cli(...args) {
		const options = { cwd: this.folder, env: this.env, encoding: 'utf8', maxBuffer: 64 << 20 };
		const done = spawnSync(process.execPath, [this.n8n, ...args], options);
		if (done.status !== 0) throw new Error(`n8n ${args.join(' ')}: ${done.stdout}\n${done.stderr}`);
		return done.stdout;
	}

	import(kind, rows) {
		const file = path.join(this.folder, `${kind}.json`);
		fs.writeFileSync(file, JSON.stringify(rows));
		return this.cli(`import:${kind}`, `--input=${file}`);
	}

	async start() {
		this.child = spawn(process.execPath, [this.n8n, 'start'], { cwd: this.folder, env: this.env });
		this.log = '';
		for (const stream of [this.child.stdout, this.child.stderr]) {
			stream.on('data', (chunk) => (this.log += chunk));
		}
		await until('n8n is ready', async () => {
			if (this.child.exitCode !== null) throw new Error(this.log.slice(-3000));
			// It says where the editor is when workflows are active; one that is deactivated before keeps its hook.
			return this.log.includes('Editor is now accessible') && (await fetch(`${this.url}/healthz/readiness`)).ok;
		}, 180);
	}

	stop = () => end(this.child);

	/** What the editor asks n8n, as the owner. */
	async rest(method, address, body) {
		const response = await fetch(`${this.url}/rest${address}`, {
			method,
			headers: {
				'content-type': 'application/json',
				'browser-id': 'end-to-end',
				...(this.cookie ? { cookie: this.cookie } : {}),
			},
			body: body === undefined ? undefined : JSON.stringify(body),
		});
		const cookie = response.headers.get('set-cookie');
		if (cookie) this.cookie = cookie.split(';')[0];
		const text = await response.text();
		if (!response.ok) throw new Error(`${method} ${address}: ${response.status} ${text}`);
		return JSON.parse(text).data;
	}

	async setUpOwner() {
		const owner = { email: 'owner@example.com', firstName: 'O', lastName: 'W', password: 'Passw0rd!x' };
		// These paths come a moment after readiness.
		await until('n8n has its paths', () => this.rest('POST', '/owner/setup', owner));
		const scopes = ['workflow:activate', 'workflow:deactivate', 'execution:read', 'execution:list'];
		const key = await this.rest('POST', '/api-keys', { label: 'e2e', scopes, expiresAt: null });
		this.apiKey = key.rawApiKey;
	}

	/** n8n's public API. */
	async api(method, address) {
		const headers = { 'x-n8n-api-key': this.apiKey };
		const response = await fetch(`${this.url}/api/v1${address}`, { method, headers });
		const text = await response.text();
		if (!response.ok) throw new Error(`${method} ${address}: ${response.status} ${text}`);
		return JSON.parse(text);
	}

	/** The executions of a workflow that have ended, the newest first. */
	executions = async (workflow) =>
		(await this.api('GET', `/executions?workflowId=${workflow}&includeData=true&limit=50`)).data.filter(
			({ status }) => status === 'success' || status === 'error',
		);

	/** The items that a node of an execution has put out. */
	static items(execution, node) {
		const runs = execution.data.resultData.runData[node];
		if (!runs) throw new Error(`the node "${node}" has not run; stopped by ${JSON.stringify(execution.data.resultData.error?.message)}`);
		return (runs[0].data?.main?.[0] ?? []).map((item) => item.json);
	}
}

/** What an AI agent speaks: MCP over HTTP. */
export class Agent {
	#id = 0;

	constructor(url) {
		this.url = url;
	}

	async ask(method, params) {
		this.#id += 1;
		const response = await fetch(this.url, {
			method: 'POST',
			headers: {
				'content-type': 'application/json',
				accept: 'application/json, text/event-stream',
				...(this.session ? { 'mcp-session-id': this.session } : {}),
			},
			body: JSON.stringify({ jsonrpc: '2.0', id: this.#id, method, params }),
		});
		this.session ??= response.headers.get('mcp-session-id');
		const text = await response.text();
		if (!response.ok) throw new Error(`${method}: ${response.status} ${text}`);
		const answer = JSON.parse(text.startsWith('{') ? text : text.match(/^data: (.*)$/m)[1]);
		if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
		return answer.result;
	}
}

/** Takes and keeps everything that is sent to it, over HTTP and SMTP. */
export class Sink {
	received = [];
	mails = [];

	async start() {
		this.port = await freePort();
		this.smtpPort = await freePort();
		this.http = http.createServer(async (request, response) => {
			let body = '';
			for await (const chunk of request) body += chunk;
			this.received.push({ method: request.method, path: request.url, body: body ? JSON.parse(body) : null });
			response.end('{"ok":true}');
		});
		this.smtp = net.createServer((socket) => this.mailbox(socket));
		this.http.listen(this.port, '127.0.0.1');
		this.smtp.listen(this.smtpPort, '127.0.0.1');
		this.url = `http://127.0.0.1:${this.port}`;
	}

	mailbox(socket) {
		let mail;
		let buffer = '';
		const say = (line) => socket.write(`${line}\r\n`);
		say('220 sink');
		socket.on('error', () => {});
		socket.on('data', (chunk) => {
			buffer += chunk;
			for (let cut; (cut = buffer.indexOf('\r\n')) >= 0; ) {
				const line = buffer.slice(0, cut);
				buffer = buffer.slice(cut + 2);
				if (mail !== undefined) {
					if (line === '.') {
						this.mails.push(mail.replace(/=\r\n/g, ''));
						mail = undefined;
						say('250 kept');
					} else mail += `${line}\r\n`;
				} else if (/^DATA/i.test(line)) {
					mail = '';
					say('354 go on');
				} else if (/^QUIT/i.test(line)) {
					say('221 bye');
					socket.end();
				} else say('250 sink');
			}
		});
	}

	stop() {
		this.http?.close();
		this.smtp?.close();
	}
}
