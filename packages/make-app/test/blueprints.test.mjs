// The blueprints: what is written in them, and that their Goodword module, given what the service really sends,
// qualifies the lead at a real server.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CONTRACTS, unchecked } from './contracts.mjs';
import { App } from './engine.mjs';
import { parse, parts, transform } from './iml.mjs';
import { goodword } from './server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const read = (file) => JSON.parse(readFileSync(path.join(HERE, file), 'utf8'));
const names = readdirSync(path.join(HERE, '../blueprints')).map((file) => path.basename(file, '.json'));
const app = new App(path.join(HERE, '../app'));
let server, connection;

before(async () => {
  server = await goodword();
  ({ data: connection } = await app.connect({ url: server.url, apiKey: server.key }));
});
after(() => server?.stop());

const OPERATORS = {
  'text:equal': (a, b) => a === b,
  exist: (a) => a !== undefined && a !== null && a !== '',
};

/** Groups of conditions, of which one must be met as a whole. */
function passes({ conditions }, variables) {
  const value = (template) => transform(template, variables, ';');
  return conditions.some((all) => all.every(({ a, o, b }) => OPERATORS[o](value(a), value(b))));
}

async function runScenario({ flow: [, goodword] }, bundle) {
  if (!passes(goodword.filter, { 1: bundle })) return undefined;
  const [, id] = goodword.module.split(':');
  return (await app.module(id, connection, transform(goodword.mapper, { 1: bundle }, ';')))[0];
}

test('there is one for each flow, and each has its bundles', () => {
  assert.deepEqual(names.sort(), ['crm-deal-won', 'shopify-order', 'stripe-payment', 'typeform-submission', 'woocommerce-order']);
  assert.deepEqual(readdirSync(path.join(HERE, 'bundles')).sort(), names.map((name) => `${name}.json`).sort());
});

for (const name of names) {
  const blueprint = read(`../blueprints/${name}.json`);
  const bundles = read(`bundles/${name}.json`);

  test(`${name}: is what Make imports`, () => {
    assert.deepEqual(Object.keys(blueprint), ['name', 'flow', 'metadata']);
    assert.equal(blueprint.metadata.version, 1);
    const [first, last] = blueprint.flow;
    assert.equal(blueprint.flow.length, 2);
    // Make's own webhook: the one module that every account has under this name.
    assert.equal(first.module, 'gateway:CustomWebHook');
    assert.equal(last.module, 'app#goodword:qualifyReferredUsers');
    assert.ok(app.manifest.components.module.qualifyReferredUsers);
    blueprint.flow.forEach((module, n) => {
      assert.equal(module.id, n + 1);
      assert.equal(module.version, 1);
      assert.deepEqual(module.metadata.designer.x, 300 * n);
      // Connections and hooks are chosen by whoever imports it.
      assert.ok(!JSON.stringify(module.parameters).includes('__IMT'));
    });
    for (const [, text] of JSON.stringify(last).matchAll(/{{(.*?)}}/g)) parse(JSON.parse(`"${text}"`), ';');
    for (const text of Object.values(last.mapper)) assert.ok(parts(text).length);
  });

  for (const [n, written] of bundles.entries()) {
    test(`${name}: qualifies the lead${bundles.length > 1 ? `, ${written.type}` : ''}`, async () => {
      // In one campaign only; what becomes of somebody who is in two is a test of its own.
      const email = `${name}-${n}@example.com`;
      const bundle = JSON.parse(JSON.stringify(written).replaceAll('maya@example.com', email));
      const campaign = await server.api('POST', '/v1/campaigns', {
        name: `${name} ${n}`,
        status: 'live',
        currency: 'EUR',
        rewards: [{ name: '20 EUR', beneficiary: 'referrer', value: { type: 'fixed', amount: { amount: '20.00', currency: 'EUR' } } }],
      });
      const referrer = await server.api('POST', '/v1/referrers', { campaign_id: campaign.id, email: 'priya@example.com' });
      const { lead } = await server.api('POST', '/v1/leads', { code: referrer.code, email });

      const answer = await runScenario(blueprint, bundle);
      assert.equal(answer.lead.id, lead.id);
      assert.equal(answer.qualified, true);
      assert.equal((await server.api('GET', `/v1/leads/${lead.id}`)).status, 'qualified');
      assert.equal((await server.api('GET', `/v1/rewards?lead_id=${lead.id}`)).data.length, 1);
      const { data } = await server.api('GET', `/v1/signals?lead_id=${lead.id}`);
      const told = data.find((signal) => signal.id === answer.signal_id);
      assert.ok(told.key.includes(transform(blueprint.flow[1].mapper.externalId, { 1: bundle }, ';')));
      assert.equal(told.source, 'make');

      // The service sends it again.
      const again = await runScenario(blueprint, bundle);
      assert.equal(again.repeated, true);
      assert.equal((await server.api('GET', `/v1/rewards?lead_id=${lead.id}`)).data.length, 1);

      // It is somebody who nobody referred: the scenario goes on.
      const stranger = JSON.parse(JSON.stringify(bundle).replaceAll(email, 'stranger@example.com').replaceAll(/"(id|deal_id|token)":"?/g, '$&9'));
      assert.equal((await runScenario(blueprint, stranger)).outcome, 'ignored');
    });
  }
}

test('what is not paid, won or complete stops at the filter', async () => {
  const stops = async (name, change) => assert.equal(await runScenario(read(`../blueprints/${name}.json`), change(read(`bundles/${name}.json`)[0])), undefined);
  await stops('stripe-payment', (event) => ({ ...event, data: { object: { ...event.data.object, payment_status: 'unpaid' } } }));
  await stops('stripe-payment', (event) => ({ ...event, type: 'customer.created' }));
  await stops('crm-deal-won', (deal) => ({ ...deal, deal_stage: 'appointmentscheduled' }));
  await stops('crm-deal-won', (deal) => ({ ...deal, email: undefined }));
  await stops('typeform-submission', (answer) => ({ ...answer, form_response: { ...answer.form_response, answers: answer.form_response.answers.slice(0, 1) } }));
  await stops('woocommerce-order', (order) => ({ ...order, status: 'pending' }));
  // What WooCommerce sends when the webhook is saved.
  await stops('woocommerce-order', () => ({ webhook_id: '1' }));
  await stops('shopify-order', (order) => ({ ...order, financial_status: 'authorized' }));
});

// ---- the bundles, held against what the vendors publish of their shapes

const published = {
  'stripe-payment': () => {
    const { resources } = JSON.parse(readFileSync(path.join(CONTRACTS, 'stripe/fixtures3.2026-08.json'), 'utf8'));
    return ['checkout.session', 'invoice'].map((object) => ({ ...resources.event, data: { object: resources[object] } }));
  },
  'woocommerce-order': () => [JSON.parse(readFileSync(path.join(CONTRACTS, 'woocommerce/examples/orders.retrieve-an-order.2.json'), 'utf8'))],
  'shopify-order': () => [JSON.parse(readFileSync(path.join(CONTRACTS, 'shopify/rest-fixtures/order.json'), 'utf8')).order],
};

function unknown(where, ours, theirs) {
  if (ours === null || theirs === null || typeof ours !== 'object' || Array.isArray(ours)) return [];
  return Object.entries(ours).flatMap(([key, value]) => (key in theirs ? unknown(`${where}.${key}`, value, theirs[key]) : [`${where}.${key}`]));
}

const skip = unchecked(`the bundles of ${Object.keys(published).join(', ')} against the vendors' own examples`, CONTRACTS);
for (const [name, theirs] of Object.entries(published)) {
  test(`${name}: the bundle has only what the vendor's own examples have`, { skip }, () => {
    read(`bundles/${name}.json`).forEach((bundle, n) => assert.deepEqual(unknown(name, bundle, theirs()[n]), []));
  });
}
