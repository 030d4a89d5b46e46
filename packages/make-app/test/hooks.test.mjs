// The instant triggers: attached at the server, told by it, detached again. The server delivers to an address of this
// test as it would to Make's; what it sent then goes through the webhook's own expressions.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { App, MakeError } from './engine.mjs';
import { differences, misfits, missing } from './interface.mjs';
import { goodword, mailbox, until } from './server.mjs';

const app = new App(path.join(path.dirname(fileURLToPath(import.meta.url)), '../app'));
let server, connection, campaign, referrer;

before(async () => {
  server = await goodword();
  ({ data: connection } = await app.connect({ url: server.url, apiKey: server.key }));
  campaign = await server.api('POST', '/v1/campaigns', {
    name: 'Spring',
    status: 'live',
    currency: 'EUR',
    rewards: [{ name: '20 EUR', beneficiary: 'referrer', review: 'never', value: { type: 'fixed', amount: { amount: '20.00', currency: 'EUR' } } }],
  });
  referrer = await server.api('POST', '/v1/referrers', { campaign_id: campaign.id, email: 'priya@example.com' });
});
after(() => server?.stop());

async function hook(t, id, parameters) {
  const box = await mailbox();
  t.after(box.close);
  const kept = await app.attach(id, connection, box.url, parameters);
  return { ...box, kept };
}

let n = 0;
const lead = (source) => server.api('POST', '/v1/leads', { code: referrer.code, email: `friend${++n}@example.com`, source });

/** The bundle that the scenario would begin with, held against the interface and the sample of its module. */
function bundle(id, request, kept) {
  const came = app.incoming(app.manifest.components.module[id].webhook, request, { webhook: kept });
  assert.equal(came.respond.status, 200);
  const fields = app.code('module', id, 'interface');
  const sample = app.code('module', id, 'samples');
  const wrong = [...misfits(id, fields, came.bundle), ...differences(id, fields, sample, came.bundle), ...missing(id, fields, [came.bundle, sample])];
  // Of what the sample does not carry either, nothing can be said.
  assert.deepEqual(wrong.filter((line) => !/\.checks\.(miss|about)/.test(line)), []);
  return came.bundle;
}

test('attached: an endpoint for this address, and a secret that is not logged', async (t) => {
  const { kept, url } = await hook(t, 'newReferral', { campaignId: campaign.id });
  const endpoint = await server.api('GET', `/v1/endpoints/${kept.externalHookId}`);
  assert.equal(endpoint.url, url);
  assert.deepEqual(endpoint.event_types, ['lead.created']);
  assert.equal(endpoint.campaign_id, campaign.id);
  assert.equal(endpoint.source, 'make');
  assert.equal(Buffer.from(kept.secret, 'base64').length >= 24, true);
  assert.ok(!JSON.stringify(app.log).includes(kept.secret));
  assert.ok(!JSON.stringify(app.log).includes(server.key));
});

test('detached: nothing is told any more, and once more is harmless', async (t) => {
  const { kept, received } = await hook(t, 'newReferral');
  await app.detach('newReferral', connection, kept);
  await assert.rejects(server.api('GET', `/v1/endpoints/${kept.externalHookId}`), /404/);
  await app.detach('newReferral', connection, kept);
  await lead();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(received, []);
});

test('New Referral', async (t) => {
  const { kept, next } = await hook(t, 'newReferral');
  const made = await lead();
  const event = bundle('newReferral', await next(), kept);
  assert.equal(event.type, 'lead.created');
  assert.deepEqual(event.data.lead, made.lead);
  assert.equal(event.data.referrer.id, referrer.id);
  assert.deepEqual(event, await server.api('GET', `/v1/events/${event.id}`));
});

test('New Referral, of one source only', async (t) => {
  const { kept, next, received } = await hook(t, 'newReferral', { source: 'whatsapp' });
  await lead('form');
  const made = await lead('whatsapp');
  assert.equal(bundle('newReferral', await next(), kept).data.lead.id, made.lead.id);
  assert.equal(received.length, 1);
});

test('Referral Qualified', async (t) => {
  const { kept, next } = await hook(t, 'referralQualified', { campaignId: campaign.id });
  const { lead: made } = await lead();
  await app.module('qualifyReferredUsers', connection, { by: 'leadId', leadId: made.id });
  const event = bundle('referralQualified', await next(), kept);
  assert.equal(event.data.lead.status, 'qualified');
  assert.deepEqual(event.data.lead, await server.api('GET', `/v1/leads/${made.id}`));
});

test('Reward Issued', async (t) => {
  const { kept, next } = await hook(t, 'rewardIssued');
  const { lead: made } = await lead();
  const [{ rewards }] = await app.module('qualifyReferredUsers', connection, { email: made.email });
  await app.module('issueAReward', connection, { id: rewards[0].id });
  const event = bundle('rewardIssued', await next(), kept);
  assert.equal(event.data.reward.id, rewards[0].id);
  assert.equal(event.data.reward.state, 'issued');
  assert.equal(event.data.moved.amount, '20.00');
  assert.equal((await server.api('GET', `/v1/rewards/${rewards[0].id}`)).state, 'issued');
});

test('Watch Events, of the types that were chosen', async (t) => {
  const { kept, next, received } = await hook(t, 'events', { eventTypes: ['lead.created', 'lead.rejected'] });
  const { lead: made } = await lead();
  await app.module('makeAnApiCall', connection, { url: `leads/${made.id}/reject`, method: 'POST', body: '{}' });
  const event = bundle('watchEvents', await next(({ body }) => body.type === 'lead.rejected'), kept);
  assert.equal(event.data.lead.status, 'rejected');
  assert.deepEqual(received.map(({ body }) => body.type).sort(), ['lead.created', 'lead.rejected']);
});

test('Watch Events: every type of event fits the interface', async () => {
  const { data } = await server.api('GET', '/v1/event-types');
  const fields = app.code('module', 'watchEvents', 'interface');
  for (const { type, example } of data) assert.deepEqual(misfits(type, fields, example), []);
  assert.deepEqual(missing('watchEvents', fields, data.map((one) => one.example)).filter((line) => !/\.checks\.(miss|about)/.test(line)), []);
});

test('Reward Issued, of one reward only', async (t) => {
  const two = await server.api('POST', '/v1/campaigns', {
    name: 'Two rewards',
    status: 'live',
    currency: 'EUR',
    rewards: ['Money', 'A cup'].map((name) => ({ name, beneficiary: 'referrer', review: 'never', value: { type: 'fixed', amount: { amount: '5.00', currency: 'EUR' } } })),
  });
  const cup = two.rewards.find(({ name }) => name === 'A cup').id;
  const { kept, next, received } = await hook(t, 'rewardIssued', { campaignId: two.id, rewardDefinitionId: cup });
  const { code } = await server.api('POST', '/v1/referrers', { campaign_id: two.id, email: 'priya@example.com' });
  const { lead: made } = await server.api('POST', '/v1/leads', { code, email: 'cup@example.com' });
  const [{ rewards }] = await app.module('qualifyReferredUsers', connection, { by: 'leadId', leadId: made.id });
  for (const { id } of rewards.sort((a, b) => Number(a.definition_id === cup) - Number(b.definition_id === cup))) await app.module('issueAReward', connection, { id });
  assert.equal(bundle('rewardIssued', await next(), kept).data.reward.name, 'A cup');
  assert.equal(received.length, 1);
});

test('a test of the endpoint arrives, is answered 200, and starts nothing', async (t) => {
  for (const [id, parameters] of [['newReferral'], ['referralQualified'], ['rewardIssued'], ['events', { eventTypes: ['lead.created'] }]]) {
    const { kept, next } = await hook(t, id, parameters);
    await server.api('POST', `/v1/endpoints/${kept.externalHookId}/test`);
    // The person in it is invented.
    const request = await next(({ body }) => body.data.lead.email === 'maya@example.com');
    assert.deepEqual(app.incoming(id, request, { webhook: kept }), { respond: { status: 200 }, bundle: undefined }, id);
    // Also where Make shows no secret.
    assert.equal(app.incoming(id, request, {}).bundle, undefined, id);
  }
});

// ---- who sent it

test('a forged request is refused, whichever way Make shows the secret', async (t) => {
  const { kept, next } = await hook(t, 'newReferral');
  await lead();
  const real = await next();
  const forged = {
    'another token': { ...real.headers, 'webhook-token': '0'.repeat(64) },
    'no token': { ...real.headers, 'webhook-token': undefined },
    'another time': { ...real.headers, 'webhook-timestamp': '1' },
    'another message': { ...real.headers, 'webhook-id': 'evt_01jd3x5w8me4qv9c2t7k6hz0ab' },
    'nothing at all': {},
  };
  for (const shown of [{ webhook: kept }, { data: kept }]) {
    assert.ok(app.incoming('newReferral', real, shown).bundle);
    for (const [what, headers] of Object.entries(forged)) {
      const came = app.incoming('newReferral', { ...real, headers }, shown);
      assert.equal(came.respond.status, 401, what);
      assert.equal(came.bundle, undefined, what);
    }
  }
});

test('what the token does not cover: the body, and where Make shows no secret, everything', async (t) => {
  const { kept, next } = await hook(t, 'newReferral');
  await lead();
  const real = await next();
  // The body's own signature is there, for whoever sees the bytes. IML sees what was parsed of them.
  const signed = `${real.headers['webhook-id']}.${real.headers['webhook-timestamp']}.${real.raw}`;
  const signature = createHmac('sha256', Buffer.from(kept.secret, 'base64')).update(signed).digest('base64');
  assert.equal(real.headers['webhook-signature'], `v1,${signature}`);
  assert.ok(app.incoming('newReferral', { ...real, body: { type: 'made up' } }, { webhook: kept }).bundle);
  assert.ok(app.incoming('newReferral', { ...real, headers: {} }, {}).bundle);
});

// ---- what does not work

test('an address that the server may not call is refused in its own words', async () => {
  await assert.rejects(app.attach('newReferral', connection, 'http://10.0.0.1/hook'), (error) => {
    assert.ok(error instanceof MakeError);
    assert.match(error.message, /^\[422\] .*10\.0\.0\.1 is a private address/);
    return true;
  });
});

test('Make deleted the hook: 410, and the server stops; another one is told what was missed', async (t) => {
  const since = new Date().toISOString();
  const { kept, next, status } = await hook(t, 'newReferral');
  status.now = 410;
  const { lead: missed } = await lead();
  await next();
  const gone = await until(async () => {
    const endpoint = await server.api('GET', `/v1/endpoints/${kept.externalHookId}`);
    return endpoint.status !== 'active' && endpoint;
  }, 'the endpoint is still active');
  assert.equal(gone.status, 'gone');

  const again = await hook(t, 'newReferral');
  await app.module('makeAnApiCall', connection, { url: `endpoints/${again.kept.externalHookId}/replay`, method: 'POST', body: JSON.stringify({ since }) });
  const request = await again.next(({ body }) => body.data.lead.id === missed.id);
  assert.equal(bundle('newReferral', request, again.kept).data.lead.id, missed.id);
});

test('the secret was changed at the server: what comes is taken for a day, then refused, and its log says so', async (t) => {
  const { kept, next } = await hook(t, 'newReferral');
  const rotate = (body) => server.api('POST', `/v1/endpoints/${kept.externalHookId}/secret/rotate`, body);
  await rotate({});
  await lead();
  assert.ok(app.incoming('newReferral', await next(), { webhook: kept }).bundle);
  await rotate({ overlap_hours: 0 });
  const { lead: late } = await lead();
  const refused = await next(({ body }) => body.data.lead.id === late.id);
  assert.equal(app.incoming('newReferral', refused, { webhook: kept }).respond.status, 401);
});
