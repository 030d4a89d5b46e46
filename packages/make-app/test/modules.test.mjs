// Every module against a real server: what the module says, and what the server says when it is asked directly.
// RECORD=1 writes what the modules put out to src/samples/, from where it comes into the app.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { App, MakeError } from './engine.mjs';
import { differences, misfits, missing } from './interface.mjs';
import { goodword, PUBLIC_URL } from './server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const app = new App(path.join(HERE, '../app'));
let server, connection, campaign, other;

before(async () => {
  server = await goodword();
  ({ data: connection } = await app.connect({ url: server.url, apiKey: server.key }));
  const twenty = { type: 'fixed', amount: { amount: '20.00', currency: 'EUR' } };
  campaign = await server.api('POST', '/v1/campaigns', {
    name: 'Spring',
    status: 'live',
    currency: 'EUR',
    lead_fields: [
      { key: 'plan', label: 'Plan', kind: 'select', options: ['Basic', 'Pro'] },
      { key: 'seats', label: 'Seats', kind: 'number' },
      { key: 'starts', label: 'Starts', kind: 'date' },
    ],
    referrer_fields: [{ key: 'company', label: 'Company', kind: 'text' }],
    rewards: [{ name: '20 EUR for you', beneficiary: 'referrer', review: 'always', value: twenty }],
  });
  other = await server.api('POST', '/v1/campaigns', {
    name: 'Partners',
    status: 'live',
    currency: 'EUR',
    rule: { minimum_spend: { amount: '50.00', currency: 'EUR' }, condition: 'properties.plan == "pro"' },
    rewards: [{ name: '5 percent', beneficiary: 'referrer', value: { type: 'commission', percent: '5' } }],
  });
});

after(async () => {
  await server?.stop();
  // Nothing that was logged in the whole run holds the key.
  assert.ok(app.log.length > 50);
  assert.ok(!JSON.stringify(app.log).includes(server.key));
});

// A check says how near it was only where it was near.
const SOMETIMES = /\.checks\.(miss|about) is (only|in the interface)/;

/** Runs a module, and holds its bundles against the interface and the sample that the user maps from. */
async function run(id, parameters) {
  const bundles = await app.module(id, connection, parameters);
  const fields = app.code('module', id, 'interface');
  if (process.env.RECORD) {
    for (const bundle of bundles) record(id, `${JSON.stringify(bundle, null, 2)}\n`);
  } else {
    const sample = app.code('module', id, 'samples');
    for (const bundle of bundles) {
      const wrong = [...misfits(id, fields, bundle), ...differences(id, fields, sample, bundle), ...missing(id, fields, [sample, bundle])];
      assert.deepEqual(wrong.filter((line) => !SOMETIMES.test(line)), []);
    }
  }
  return bundles;
}

// The bundle with the most in it is the sample, and the first of those that have as much.
const recorded = new Map();
function record(id, text) {
  const much = text.replaceAll('false', 'true').length;
  if (much <= (recorded.get(id) ?? 0)) return;
  recorded.set(id, much);
  mkdirSync(path.join(HERE, '../src/samples'), { recursive: true });
  writeFileSync(path.join(HERE, `../src/samples/${id}.json`), text);
}

const fails = (type, words) => (error) => {
  assert.ok(error instanceof MakeError, error.stack);
  assert.equal(error.type, type);
  assert.match(error.message, words);
  return true;
};

let n = 0;
const somebody = (name = 'friend') => `${name}${++n}@example.com`;
async function aReferrer(of = campaign) {
  const priya = { email: somebody('priya'), firstName: 'Priya', lastName: 'Shah' };
  return (await app.module('addAReferrer', connection, { campaignId: of.id, ...priya }))[0];
}
async function aLead(of = campaign) {
  const { code } = await aReferrer(of);
  const maya = { email: somebody('maya'), firstName: 'Maya', lastName: 'Rossi', externalId: `customer-${n}` };
  return (await app.module('addALead', connection, { code, ...maya }))[0].lead;
}
async function aReward() {
  const lead = await aLead();
  return (await app.module('qualifyReferredUsers', connection, { email: lead.email }))[0].rewards[0];
}

// ---- the connection

test('the connection is verified against /v1/me', async () => {
  const made = await app.connect({ url: server.url, apiKey: server.key });
  const me = await server.api('GET', '/v1/me');
  assert.equal(made.uid, me.workspace.id);
  assert.equal(made.label, me.label);
});

test('a slash at the end of the address does no harm', async () => {
  const made = await app.connect({ url: `${server.url}/`, apiKey: server.key });
  assert.equal(made.data.url, server.url);
});

test('a wrong key is refused in the words of the server, and not logged', async () => {
  await assert.rejects(
    app.connect({ url: server.url, apiKey: 'gw_test_no' }),
    fails('InvalidAccessTokenError', /^\[401\] A valid API key is needed: The request has no API key, or one that is unknown or revoked\. Send the header/),
  );
  assert.ok(!JSON.stringify(app.log).includes('gw_test_no'));
});

for (const status of [200, 404, 502]) {
  test(`an address that is no Goodword server says so: ${status}`, async (t) => {
    const site = http.createServer((_, response) => response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>Hello</h1>'));
    t.after(() => site.close());
    await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${site.address().port}`;
    const type = { 200: 'InvalidConfigurationError', 404: 'DataError', 502: 'ConnectionError' }[status];
    await assert.rejects(app.connect({ url, apiKey: server.key }), fails(type, /This address did not answer as a Goodword server does/));
  });
}

test('a key that may only read is told what it lacks, and stays connected', async () => {
  const { secret } = await server.api('POST', '/v1/api-keys', { name: 'reader', scopes: ['read'] });
  const { data } = await app.connect({ url: server.url, apiKey: secret });
  await assert.rejects(app.module('addAReferrer', data, { campaignId: campaign.id, email: somebody() }), fails('RuntimeError', /^\[403\] .*write|report/));
});

// ---- drop-downs

test('drop-downs come from the server', async () => {
  const campaigns = await app.rpc('listCampaigns', connection);
  assert.deepEqual(campaigns.find((option) => option.value === campaign.id), { label: 'Spring', value: campaign.id });
  assert.equal(campaigns.length, (await server.api('GET', '/v1/campaigns')).data.length);

  const all = await app.rpc('listRewardDefinitions', connection);
  assert.deepEqual(all.map((option) => option.label).sort(), ['20 EUR for you', '5 percent']);
  const ofOne = await app.rpc('listRewardDefinitions', connection, { campaignId: other.id });
  assert.deepEqual(ofOne, [{ label: '5 percent', value: other.rewards[0].id }]);

  await aReferrer();
  assert.ok((await app.rpc('listSources', connection)).some((option) => option.value === 'make'));

  const types = await app.rpc('listEventTypes', connection);
  assert.ok(types.some((option) => option.value === 'lead.created' && option.label === 'New Referral'));
  // A test starts no scenario, so there is no choosing it.
  const known = (await server.api('GET', '/v1/event-types')).data.map(({ type }) => type);
  assert.deepEqual(types.map(({ value }) => value), known.filter((type) => type !== 'endpoint.tested'));
});

test('a key that only reports fills the drop-down of campaigns', async () => {
  const { secret } = await server.api('POST', '/v1/api-keys', { name: 'reporter', scopes: ['report'] });
  const { data } = await app.connect({ url: server.url, apiKey: secret });
  assert.deepEqual(await app.rpc('listCampaigns', data), await app.rpc('listCampaigns', connection));
});

test('more campaigns than fit on a page', async () => {
  for (let i = 0; i < 105; i++) await server.api('POST', '/v1/campaigns', { name: `Draft ${i}`, currency: 'EUR' });
  assert.ok((await app.rpc('listCampaigns', connection)).length >= 107);
});

test("a campaign's own fields become the fields of the form", async () => {
  const [form] = await app.rpc('leadFields', connection, { campaignId: campaign.id });
  assert.equal(form.name, 'fields');
  assert.deepEqual(form.spec, [
    { name: 'plan', label: 'Plan', type: 'text', required: false, help: 'One of: Basic, Pro.' },
    { name: 'seats', label: 'Seats', type: 'number', required: false },
    { name: 'starts', label: 'Starts', type: 'text', required: false, help: 'For example, `2026-11-20`.' },
  ]);
  assert.deepEqual((await app.rpc('referrerFields', connection, { campaignId: campaign.id }))[0].spec.map((field) => field.name), ['company']);
  assert.deepEqual(await app.rpc('leadFields', connection, {}), []);
});

// ---- referrers

test('Add a Referrer', async () => {
  const email = somebody('priya');
  const [made] = await run('addAReferrer', { campaignId: campaign.id, email, firstName: 'Priya', lastName: 'Shah', fields: { company: 'Acme' }, externalId: `crm-${n}` });
  assert.equal(made.created, true);
  assert.equal(made.referral_link, `${PUBLIC_URL}/${made.code}`);
  const { created, ...referrer } = made;
  assert.deepEqual(await server.api('GET', `/v1/referrers/${made.id}`), referrer);
  assert.equal(referrer.source, 'make');
  assert.deepEqual(referrer.fields, { company: 'Acme' });

  const [again] = await run('addAReferrer', { campaignId: campaign.id, email });
  assert.equal(again.created, false);
  assert.equal(again.id, made.id);
});

test('Get, Update and Search Referrers', async () => {
  const made = await aReferrer();
  assert.deepEqual(await run('getAReferrer', { id: made.id }), [await server.api('GET', `/v1/referrers/${made.id}`)]);

  const [changed] = await run('updateAReferrer', { id: made.id, firstName: 'Ada', campaignId: campaign.id, fields: { company: 'Acme' } });
  assert.equal(changed.first_name, 'Ada');
  assert.deepEqual(changed, await server.api('GET', `/v1/referrers/${made.id}`));
  const [cleared] = await run('updateAReferrer', { id: made.id, unset: ['fields.company'] });
  assert.deepEqual(cleared.fields, {});
  assert.equal(cleared.first_name, 'Ada', 'an empty box changes nothing');

  assert.deepEqual(await run('searchReferrers', { email: made.email }), [cleared]);
  assert.deepEqual(await run('searchReferrers', { email: made.email, status: 'suspended' }), []);
});

// ---- leads

test('Add a Lead, by the code of the referrer', async () => {
  const referrer = await aReferrer();
  const email = somebody('maya');
  const fields = { plan: 'Pro', seats: 5, starts: '2026-12-01' };
  const [made] = await run('addALead', { code: referrer.code, email, firstName: 'Maya', campaignId: campaign.id, fields });
  assert.equal(made.created, true);
  assert.equal(made.lead.referrer.id, referrer.id);
  const lead = await server.api('GET', `/v1/leads/${made.lead.id}`);
  assert.deepEqual(made.lead, lead);
  assert.deepEqual(lead.fields, fields);
  assert.equal(lead.source, 'make');
});

test('Add a Lead, by the email and by the ID of the referrer', async () => {
  const referrer = await aReferrer();
  const [byEmail] = await run('addALead', { by: 'referrerEmail', referrerEmail: referrer.email, campaignId: campaign.id, email: somebody() });
  const [byId] = await run('addALead', { by: 'referrerId', referrerId: referrer.id, email: somebody() });
  for (const { lead } of [byEmail, byId]) assert.equal((await server.api('GET', `/v1/leads/${lead.id}`)).referrer.id, referrer.id);
});

test('Get, Update, Search and Explain Leads', async () => {
  const lead = await aLead();
  assert.deepEqual(await run('getALead', { id: lead.id }), [await server.api('GET', `/v1/leads/${lead.id}`)]);

  const [changed] = await run('updateALead', { id: lead.id, lastName: 'Rossi-Shah' });
  assert.equal(changed.last_name, 'Rossi-Shah');
  assert.deepEqual(await run('searchLeads', { email: lead.email, status: 'pending', campaignId: campaign.id, createdAfter: lead.created_at }), [changed]);
  const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
  assert.deepEqual(await run('searchLeads', { email: lead.email, createdAfter: tomorrow }), []);

  const [explained] = await run('explainALead', { id: lead.id });
  assert.deepEqual(explained, await server.api('GET', `/v1/leads/${lead.id}/explanation`));
  assert.equal(explained.lead.status, 'pending');
});

test('a search goes through the pages until its limit', async () => {
  const referrer = await aReferrer();
  for (let i = 0; i < 120; i++) await server.api('POST', '/v1/leads', { code: referrer.code, email: somebody('many') });
  const asked = app.log.length;
  const found = await run('searchLeads', { referrerId: referrer.id, limit: 110 });
  assert.equal(new Set(found.map((lead) => lead.id)).size, 110);
  assert.equal(app.log.length - asked, 2, 'two pages of 100');
  assert.equal((await run('searchLeads', { referrerId: referrer.id, limit: 3 })).length, 3);
  assert.equal((await run('searchLeads', { referrerId: referrer.id, limit: 500 })).length, 120);
});

// ---- what qualifies

for (const [by, given] of [
  ['email', (lead) => ({ email: lead.email })],
  ['code', (lead) => ({ code: lead.code })],
  ['leadId', (lead) => ({ leadId: lead.id })],
  ['leadExternalId', (lead) => ({ leadExternalId: lead.external_id, campaignId: campaign.id })],
]) {
  test(`Qualify Referred Users, by ${by}`, async () => {
    const lead = await aLead();
    const [answer] = await run('qualifyReferredUsers', { by, ...given(lead), externalId: `event-${n}`, note: 'by hand' });
    assert.equal(answer.outcome, 'applied');
    assert.equal(answer.qualified, true);
    const now = await server.api('GET', `/v1/leads/${lead.id}`);
    assert.equal(now.status, 'qualified');
    assert.deepEqual(answer.lead, now);
    assert.equal((await server.api('GET', `/v1/rewards?lead_id=${lead.id}`)).data.length, 1);

    const [again] = await run('qualifyReferredUsers', { by, ...given(lead), externalId: `event-${n}` });
    assert.equal(again.qualified || again.repeated, true);
    assert.equal((await server.api('GET', `/v1/rewards?lead_id=${lead.id}`)).data.length, 1, 'not another reward');
  });
}

test('Qualify Referred Users, by coupon', async () => {
  const welcome = await server.api('POST', '/v1/campaigns', {
    name: 'Welcome',
    status: 'live',
    currency: 'EUR',
    rewards: [{ name: 'Welcome', beneficiary: 'lead', trigger: 'joined', value: { type: 'coupon' }, review: 'never', auto_issue: true }],
  });
  await server.api('POST', `/v1/reward-definitions/${welcome.rewards[0].id}/coupons`, { codes: ['HELLO10'] });
  const [referrer] = await run('addAReferrer', { campaignId: welcome.id, email: somebody() });
  const [{ lead }] = await run('addALead', { code: referrer.code, email: somebody() });
  const [reward] = (await server.api('GET', `/v1/rewards?lead_id=${lead.id}`)).data;
  assert.equal(reward.coupon, 'HELLO10');
  const [answer] = await run('qualifyReferredUsers', { by: 'coupon', coupon: 'HELLO10' });
  assert.equal(answer.lead.id, lead.id);
  assert.equal((await server.api('GET', `/v1/leads/${lead.id}`)).status, 'qualified');
});

test('nobody matched is an answer with its reason, not an error', async () => {
  const [answer] = await run('qualifyReferredUsers', { email: 'nobody@example.com' });
  assert.equal(answer.outcome, 'ignored');
  assert.equal(answer.why.reason, 'person_unknown');
  assert.equal(answer.lead, null);
});

test('what was typed under another choice is not sent', async () => {
  const lead = await aLead();
  // The form keeps it, and Make hands it over.
  const parameters = { by: 'email', email: lead.email, code: 'SOMETHING', campaignId: undefined };
  const bundles = await app.run(app.inherit(app.code('module', 'qualifyReferredUsers', 'communication')), { connection, parameters });
  assert.equal(bundles[0].lead.id, lead.id);
});

test('Record a Conversion, and the rule decides', async () => {
  const lead = await aLead(other);
  const order = { email: lead.email, currency: 'eur', properties: [{ key: 'plan', value: 'pro' }] };
  const [short] = await run('recordAConversion', { ...order, externalId: 'order-1', amount: 46, occurredAt: new Date().toISOString() });
  assert.equal(short.qualified, false);
  assert.equal(short.conversion.amount.amount_minor, 4600);
  const [enough] = await run('recordAConversion', { ...order, externalId: 'order-2', amountMinor: 500, kind: 'invoice' });
  assert.equal(enough.qualified, true);
  const { data } = await server.api('GET', `/v1/conversions?lead_id=${lead.id}&order=asc`);
  assert.deepEqual(data.map(({ external_id, kind, amount, properties }) => [external_id, kind, amount.amount, properties]), [
    ['order-1', 'order', '46.00', { plan: 'pro' }],
    ['order-2', 'invoice', '5.00', { plan: 'pro' }],
  ]);
  const [again] = await run('recordAConversion', { ...order, externalId: 'order-2', amountMinor: 500, kind: 'invoice' });
  assert.equal(again.repeated, true);
  assert.equal((await server.api('GET', `/v1/conversions?lead_id=${lead.id}`)).data.length, 2);
});

// ---- rewards

test('Approve and Issue a Reward', async () => {
  const due = await aReward();
  assert.equal(due.state, 'in_review');
  const [approved] = await run('approveAReward', { id: due.id, note: 'Looks good.' });
  assert.equal(approved.state, 'approved');
  const [issued] = await run('issueAReward', { id: due.id });
  assert.equal(issued.state, 'issued');
  const now = await server.api('GET', `/v1/rewards/${due.id}`);
  assert.equal(now.state, 'issued');
  assert.ok(now.history.some((entry) => entry.note === 'Looks good.'));
  assert.deepEqual(await run('getAReward', { id: due.id }), [now]);
});

test('Reject a Reward', async () => {
  const due = await aReward();
  const [rejected] = await run('rejectAReward', { id: due.id, note: 'Twice the same person.' });
  assert.equal(rejected.state, 'rejected');
  assert.equal((await server.api('GET', `/v1/rewards/${due.id}`)).state, 'rejected');
});

test('Search Rewards', async () => {
  const due = await aReward();
  const found = await run('searchRewards', { campaignId: campaign.id, definitionId: due.definition_id, state: 'in_review', leadId: due.lead_id });
  assert.deepEqual(found.map((reward) => reward.id), [due.id]);
  assert.deepEqual(await run('searchRewards', { leadId: due.lead_id, state: 'issued' }), []);
});

// ---- any other

test('Make an API Call', async () => {
  const qs = [{ key: 'limit', value: '1' }];
  const [listed] = await app.module('makeAnApiCall', connection, { url: 'campaigns', qs });
  assert.equal(listed.statusCode, 200);
  assert.equal(listed.body.data.length, 1);
  assert.ok(listed.headers['ratelimit-limit']);
  // With a slash in front it is the same.
  assert.equal((await app.module('makeAnApiCall', connection, { url: '/campaigns', qs }))[0].statusCode, 200);

  const lead = await aLead();
  const headers = [{ key: 'Idempotency-Key', value: `once-${lead.id}` }];
  const call = { url: `leads/${lead.id}/reject`, method: 'POST', body: '{"note": "spam"}', headers };
  await app.module('makeAnApiCall', connection, call);
  assert.equal((await server.api('GET', `/v1/leads/${lead.id}`)).status, 'rejected');
  assert.equal((await app.module('makeAnApiCall', connection, call))[0].headers['idempotent-replayed'], 'true');
});

test('an API call cannot leave the server', async () => {
  await assert.rejects(app.module('makeAnApiCall', connection, { url: 'https://example.com/' }), fails('DataError', /^\[404\]/));
  assert.ok(app.log.at(-1).request.url.startsWith(server.url));
});

// ---- what does not work, in the words of the server

test('a value that is not valid names its field', async () => {
  const { code } = await aReferrer();
  await assert.rejects(
    app.module('addALead', connection, { code, email: 'no address' }),
    fails('DataError', /^\[422\] The request is not valid: \/email: expected an e-mail address like priya@example\.com\.$/),
  );
  await assert.rejects(
    app.module('addALead', connection, { code, email: somebody(), campaignId: campaign.id, fields: { plan: 'Gold' } }),
    fails('DataError', /^\[422\] .*\/fields\/plan: expected one of the options for Plan\.$/),
  );
});

test('a state that does not allow it says what to do next', async () => {
  const due = await aReward();
  await assert.rejects(app.module('issueAReward', connection, { id: due.id }), fails('DataError', /^\[409\] The current state does not allow this: .+\. .+\.$/));
});

test('what is not there', async () => {
  await assert.rejects(app.module('getALead', connection, { id: 'lead_01jd3x5w8me4qv9c2t7k6hz0ab' }), fails('DataError', /^\[404\] Not found: There is no such lead\.$/));
});

test('a key that was revoked breaks the connection', async () => {
  const { id, secret } = await server.api('POST', '/v1/api-keys', { name: 'Make', scopes: ['write'] });
  const { data } = await app.connect({ url: server.url, apiKey: secret });
  await server.api('DELETE', `/v1/api-keys/${id}`);
  await assert.rejects(app.module('searchLeads', data), fails('InvalidAccessTokenError', /^\[401\] A valid API key is needed/));
});

test('too many requests are tried again by Make', async (t) => {
  const slow = await goodword('--rate-limit-per-minute', '2');
  t.after(slow.stop);
  const { data } = await app.connect({ url: slow.url, apiKey: slow.key });
  const calls = Array.from({ length: 3 }, () => app.module('searchLeads', data));
  await assert.rejects(Promise.all(calls), fails('RateLimitError', /^\[429\] \w/));
});

test('a required parameter that is missing does not reach the server', async () => {
  const asked = app.log.length;
  await assert.rejects(app.module('recordAConversion', connection, { email: 'maya@example.com' }), fails('BundleValidationError', /externalId/));
  assert.equal(app.log.length, asked);
});
