// Every page in the real browser, asked by axe-core for WCAG 2.2 AA: light and dark, on a phone and on a desk.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { after, before, test } from 'node:test';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

const { GOODWORD } = process.env;
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodword-e2e-'));
let server, program, browser, page;

before(async () => {
	// A believable year, with people and rewards in every state.
	const args = ['demo', '--size', 'small', '--json', '--data', folder, '--listen', '127.0.0.1:0', '--form-limit-per-minute', '0'];
	server = spawn(GOODWORD, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, GOODWORD_LOG: 'warn' } });
	const [line] = await once(readline.createInterface(server.stdout), 'line');
	program = JSON.parse(line);
	browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
	page = await browser.newPage({ reducedMotion: 'reduce', locale: 'en-GB' });
});

after(async () => {
	await browser?.close();
	server.kill();
	await once(server, 'exit');
	fs.rmSync(folder, { recursive: true });
});

async function call(method, address, body) {
	const headers = { 'x-api-key': program.api_key, 'content-type': 'application/json' };
	const response = await fetch(program.url + address, { method, headers, body: body && JSON.stringify(body) });
	const text = await response.text();
	assert.ok(response.ok, `${method} ${address}: ${response.status} ${text}`);
	return text && JSON.parse(text);
}

const first = async (address) => (await call('GET', address)).data[0];
const campaign = async (status) => first(`/v1/campaigns?status=${status}`);
const goto = async (address, status = 200) => {
	const response = await page.goto(new URL(address, program.url).href);
	assert.equal(response.status(), status, address);
};

/** Sends the page's form: an e-mail address, and something in every other field that must not be empty. */
async function send(email) {
	// Faster than this nobody fills it in, so the server would ask again.
	await page.waitForFunction(() => performance.now() > 2500);
	for (const field of await page.locator('main form :required').all()) await field.fill('Robin');
	await page.fill('main [name=email]', email);
	await Promise.all([page.waitForEvent('load'), page.click('main form [type=submit]')]);
}

/** With a mistake in it, which the server finds. */
async function mistaken() {
	await send('nobody');
	assert.equal(await page.locator('main [aria-invalid=true]').count(), 1, 'the mistake is marked');
	await usable(/./);
}

/** The page as it is now, in every way that it is looked at. */
async function usable(heading) {
	assert.match(await page.locator('h1').first().innerText(), heading);
	const found = [];
	for (const colorScheme of ['light', 'dark']) {
		for (const width of [390, 1280]) {
			await page.setViewportSize({ width, height: 900 });
			await page.emulateMedia({ colorScheme });
			// Colours fade into each other; what counts is where they arrive.
			await page.evaluate(async () => {
				await new Promise(requestAnimationFrame);
				await Promise.all(document.getAnimations().map((animation) => animation.finished));
			});
			const here = `${colorScheme}, ${width} px`;
			// What the browser runs of itself obeys no policy of the page.
			await page.evaluate(axe.source);
			const { violations, passes } = await page.evaluate((tags) => window.axe.run({ runOnly: tags }), TAGS);
			assert.ok(passes.length > 5, 'axe has looked at the page');
			for (const { id, help, nodes } of violations) {
				for (const node of nodes) found.push(`${here}: ${id}: ${help}: ${node.html} ${node.failureSummary}`);
			}
			// 1.4.10, which axe cannot see.
			const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
			if (over > 0) found.push(`${here}: ${over} px wider than the window`);
		}
	}
	assert.deepEqual(found, [], page.url());
}

test('the start page', async () => {
	await goto('/');
	await usable(/Goodword is running/);
});

test('the API reference', async () => {
	await goto('/docs');
	await usable(/./);
});

test('a landing page, its mistakes, its thanks', async () => {
	const { code } = await first(`/v1/referrers?campaign_id=${program.campaign_id}`);
	await goto(`/${code}`);
	await usable(/./);
	await mistaken();
	await send('e2e.friend@example.com');
	assert.match(page.url(), /\/thanks/);
	await usable(/./);
});

test('the sign-up of referrers, its mistakes, the page of their own', async () => {
	await goto((await call('GET', `/v1/campaigns/${program.campaign_id}`)).join_link);
	await usable(/./);
	await mistaken();
	await send('e2e.referrer@example.com');
	assert.match(page.url(), /\/me\//);
	await usable(/./);
	const { code } = await first('/v1/referrers?email=e2e.referrer@example.com');
	const fields = { company: 'Northlight' };
	const { lead } = await call('POST', '/v1/leads', { code, email: 'e2e.second@example.com', first_name: 'Noor', fields });
	await call('POST', '/v1/leads', { code, email: 'e2e.third@example.com', first_name: 'Ida', fields });
	await call('POST', '/v1/qualifications', { lead_id: lead.id });
	await page.reload();
	await usable(/./);
});

test('what has ended, is not there yet, was erased, or never was', async () => {
	const ended = await campaign('ended');
	await goto(ended.join_link, 410);
	await usable(/./);
	const { code } = await first(`/v1/referrers?campaign_id=${ended.id}`);
	await goto(`/${code}`, 410);
	await usable(/./);
	await goto((await campaign('draft')).join_link);
	await usable(/./);
	const erased = await call('POST', '/v1/referrers', { campaign_id: program.campaign_id, email: 'e2e.erased@example.com' });
	await call('DELETE', `/v1/referrers/${erased.id}`);
	await goto(`/${erased.code}`, 410);
	await usable(/./);
	await goto('/nobody-has-this', 404);
	await usable(/./);
});

test('the desk, from its door to why a lead has not qualified', async () => {
	await goto('/app', 401);
	await usable(/not signed in/);
	await goto('/app/sign-in/spent', 410);
	await usable(/not signed in/);
	const link = execFileSync(GOODWORD, ['admin', '--data', folder, '--public-url', program.url], { encoding: 'utf8' });
	await goto(link.trim());
	await usable(/Sign in/);
	await Promise.all([page.waitForURL('**/app'), page.click('main button')]);
	await usable(/Your referral program/);
	const links = await page.locator('main a').evaluateAll((all) => all.map((a) => a.href));
	for (const address of new Set(links)) assert.notEqual((await page.request.get(address)).status(), 404, address);
	for (const status of ['pending', 'qualified', 'rejected']) {
		await goto(`/app/leads/${(await first(`/v1/leads?status=${status}`)).id}`);
		await usable(/./);
	}
	await goto('/app/leads/nobody', 404);
	await usable(/./);
	await goto('/app?side=test');
	await usable(/Your referral program/);
});
