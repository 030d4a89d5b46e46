// Nothing is wrong with the app, and what would be wrong is found.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { lint } from './lint.mjs';

const APP = path.join(path.dirname(fileURLToPath(import.meta.url)), '../app');

test('nothing is wrong with the app', () => assert.deepEqual(lint(APP), []));

const file = (id, what) => `modules/${id}/${id}.${what}.iml.json`;
for (const [what, where, from, to, expected] of [
  ['an expression that does not parse', file('get-a-lead', 'communication'), '{{parameters.id}}', '{{parameters.}}', /unexpected/],
  ['a function that there is not', file('record-a-conversion', 'communication'), 'upper(', 'uppper(', /there is no function uppper/],
  ['a semicolon, as in scenarios', file('record-a-conversion', 'communication'), "properties, 'key'", "properties; 'key'", /, or \) expected/],
  ['a parameter that nobody asks for', file('get-a-lead', 'communication'), 'parameters.id', 'parameters.leadId', /there is no parameters\.leadId/],
  ['a parameter that nobody uses', file('approve-a-reward', 'communication'), '{{parameters.note}}', 'ok', /note is asked for and not used/],
  ['a variable that is not seen here', file('get-a-lead', 'communication'), '{{body}}', '{{webhook.body}}', /there is no variable webhook here/],
  ['a key that the connection does not have', 'general/base.iml.json', 'connection.apiKey', 'connection.token', /there is no connection\.token/],
  ['a key in the log', 'general/base.iml.json', 'request.headers.x-api-key', 'request.headers.authorization', /x-api-key is not kept out of the log/],
  ['a secret in the log', 'webhooks/events/events.attach.iml.json', 'response.body.secret', 'response.body.id', /the secret is not kept out of the log/],
  ['a type of error that Make does not know', 'general/base.iml.json', 'RateLimitError', 'SlowDownError', /SlowDownError is not a type of error/],
  ['a key that Make does not know', file('get-a-lead', 'communication'), '"method"', '"verb"', /verb is not known here/],
  ['a drop-down that there is not', file('search-leads', 'mappable-params'), 'rpc://listCampaigns', 'rpc://listCampaign', /there is no RPC listCampaign$/],
  ['a type that there is not', file('search-leads', 'mappable-params'), '"uinteger"', '"count"', /count is not a type/],
  ['a sample beside the interface', file('get-a-lead', 'samples'), '"first_name"', '"firstName"', /firstName is not in the interface/],
  ['a sample of another type', file('get-a-lead', 'samples'), /"number": \d+/, '"number": "1"', /"1" is not of type integer/],
  ['a module in no group', 'modules/groups.json', '"getALead"', '"getALeads"', /getALead: is not in exactly one group/],
  ['a module without its webhook', 'makecomapp.json', '"webhook": "events"', '"webhook": "event"', /there is no webhook event$/],
]) {
  test(`found: ${what}`, (t) => {
    const copy = mkdtempSync(path.join(os.tmpdir(), 'goodword-lint-'));
    t.after(() => rmSync(copy, { recursive: true }));
    cpSync(APP, copy, { recursive: true });
    const text = readFileSync(path.join(copy, where), 'utf8');
    assert.notEqual(text.replace(from, to), text);
    writeFileSync(path.join(copy, where), text.replace(from, to));
    assert.match(lint(copy).join('\n'), new RegExp(expected.source, 'm'));
  });
}
